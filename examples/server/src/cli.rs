//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Sells access to language models: an OpenAI-compatible API over OpenRouter, Gemini and others,
/// with keys, plans, limits and exact metering.
#[derive(Debug, Parser)]
#[command(name = "aihub", version, about)]
pub(crate) struct Cli {
    /// A TOML file over the built-in settings; the environment goes over both.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API.
    Serve,
    /// Check settings, store, pepper and catalogue as `serve` would, and say what is there.
    Check,
    /// Print the `OpenAPI` document.
    Openapi,
    /// Print the built-in settings, which are their own manual.
    Settings,
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Set, list and remove secrets, and replace the master key that they are under.
    #[command(subcommand)]
    Secrets(Secrets),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key; it is printed alone on the last line, once.
    Create(Create),
    /// List the keys of an account.
    List {
        /// The account, as `keys create` printed it.
        #[arg(long)]
        account: aihub_core::AccountId,
    },
    /// Revoke a key, for good.
    Revoke {
        /// The account that has it.
        #[arg(long)]
        account: aihub_core::AccountId,
        /// The key's id.
        id: aihub_core::KeyId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Set a secret to what comes on standard input; never an argument, which everybody on the machine sees.
    Set {
        #[command(flatten)]
        owner: Owner,
        /// Take every byte, the end of the last line included.
        #[arg(long)]
        exact: bool,
        /// What it is called, such as `webhook/orders`.
        name: aihub_core::SecretName,
    },
    /// List the names of secrets.
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Remove a secret, for good.
    Remove {
        #[command(flatten)]
        owner: Owner,
        /// What it is called.
        name: aihub_core::SecretName,
    },
    /// Print a fresh master key with the next version: a line for `secrets.keys_file`.
    NewKey,
    /// Bring every secret under the newest master key; ends well only when no older one is needed any more.
    Rotate,
}

/// Whose secrets.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Owner {
    /// The account that has them.
    #[arg(long)]
    pub(crate) account: Option<aihub_core::AccountId>,
    /// The operator's own.
    #[arg(long)]
    pub(crate) house: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What the key is called, in 200 characters at most.
    #[arg(long, value_parser = name)]
    pub(crate) name: String,
    /// The plan that its calls are under; `keys.default_plan` where it is absent.
    #[arg(long)]
    pub(crate) plan: Option<String>,
    /// The account that pays; a new one where it is absent.
    #[arg(long)]
    pub(crate) account: Option<aihub_core::AccountId>,
}

/// A name that a list of keys can show, one in a line.
fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Err("a key needs a name to be told from others")
    } else if text.chars().count() > 200 {
        Err("a name has at most 200 characters")
    } else if text.chars().any(char::is_control) {
        Err("a name is one line of plain text")
    } else {
        Ok(text.to_owned())
    }
}
