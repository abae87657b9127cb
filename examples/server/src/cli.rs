//! The command line.

use std::path::PathBuf;

use aihub_core::key::Permission;
use aihub_core::model::ModelKind;
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
    /// Bring the database's tables up to date, where `serve` may not (`store.migrate = false`).
    Migrate,
    /// Copy a SQLite database into a new file, while it is in use.
    Backup {
        /// The file to be made; it must not be there.
        file: PathBuf,
    },
    /// Print the `OpenAPI` document.
    Openapi,
    /// Print the built-in settings, which are their own manual.
    Settings,
    /// Make, list, rotate and revoke API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// What is agreed with an account, and what it has paid in.
    #[command(subcommand)]
    Accounts(Accounts),
    /// Prove that usage, quotas and ledger agree: exit 0, or 1 with everything that is off.
    Audit,
    /// Set, list and remove secrets, and replace the master key that they are under.
    #[command(subcommand)]
    Secrets(Secrets),
    /// Show the prices in force, and import new ones.
    #[command(subcommand)]
    Prices(Prices),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Prices {
    /// List what every model costs by each of its upstreams, with the version that records name it by.
    List,
    /// Take prices over from a file: a catalogue in the form of `models.json`, or what `OpenRouter` answers to `GET
    /// /models`. What is missing, negative or moves too far is refused; the rest goes into `catalogue.file` with a date.
    Import {
        /// The file with the prices.
        file: PathBuf,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
        /// How far a price may move from what is in force, in percent of that.
        #[arg(long, value_name = "PERCENT", default_value_t = 25)]
        max_drift: u32,
        /// A model whose prices may move further; may be given several times.
        #[arg(long, value_name = "MODEL")]
        accept_drift: Vec<String>,
        /// The instant from which the prices hold; now where it is absent.
        #[arg(long, value_name = "TIME")]
        valid_from: Option<aihub_core::Timestamp>,
    },
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
    /// Give a key another secret, printed alone on the last line, once; the one before it holds a while longer.
    Rotate {
        /// The account that has it.
        #[arg(long)]
        account: aihub_core::AccountId,
        /// How many hours the secret before it still holds; 0 ends it at once.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(..=8_760))]
        overlap_hours: u32,
        /// The key's id.
        id: aihub_core::KeyId,
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
pub(crate) enum Accounts {
    /// Show an account's terms, and what is left of what it has paid in.
    Show {
        /// The account.
        #[arg(long)]
        account: aihub_core::AccountId,
    },
    /// Change an account's terms; what is not named stays as it is.
    Set(Terms),
    /// Book what an account has paid in.
    TopUp {
        /// The account.
        #[arg(long)]
        account: aihub_core::AccountId,
        /// How much, such as `25.00 USD`.
        #[arg(long, value_parser = money)]
        amount: aihub_core::Money,
        /// What it is known by, such as the number of a transfer: booked once, however often it is said.
        #[arg(long)]
        reference: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// The account.
    #[arg(long)]
    pub(crate) account: aihub_core::AccountId,
    /// Whom it belongs to.
    #[arg(long)]
    pub(crate) organisation: Option<aihub_core::OrganisationId>,
    /// The time zone that its days and months are of, such as `Europe/Berlin`.
    #[arg(long)]
    pub(crate) time_zone: Option<String>,
    /// The day on which its months begin, or the last day of a month that is shorter.
    #[arg(long, value_parser = clap::value_parser!(i8).range(1..=31))]
    pub(crate) anchor_day: Option<i8>,
    /// It uses only what it has paid in, in this currency.
    #[arg(long, value_name = "CURRENCY", conflicts_with = "postpaid")]
    pub(crate) prepaid: Option<aihub_core::Currency>,
    /// It is billed afterwards.
    #[arg(long)]
    pub(crate) postpaid: bool,
    /// The most that it may be charged in a month, such as `100 USD`; `none` for no limit of its own.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) monthly_money: Option<String>,
}

fn money(text: &str) -> Result<aihub_core::Money, String> {
    let wrong = || "write an amount and its currency, such as `25.00 USD`".to_owned();
    let (amount, currency) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let currency = currency.trim().parse().map_err(|error: aihub_core::Error| error.to_string())?;
    aihub_core::Money::parse(amount, currency).map_err(|error| error.to_string())
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
    /// How many days it holds; 0 is for ever, `keys.expire_after_days` where it is absent.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=36_500))]
    pub(crate) expires_in_days: Option<u32>,
    /// What it may do: `read_only`, `read_write` or `manage`.
    #[arg(long, default_value_t)]
    pub(crate) permission: Permission,
    /// The only operations it may be used for, such as `chat`; all where it is absent.
    #[arg(long = "operation", value_name = "OPERATION")]
    pub(crate) operations: Vec<ModelKind>,
    /// The only models it reaches, by id, with `*` at the end for all that start so; all of the plan's where it is
    /// absent.
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    /// The only addresses or networks it may be used from, such as 192.0.2.0/24; anywhere where it is absent.
    #[arg(long = "from", value_name = "NETWORK")]
    pub(crate) networks: Vec<aihub_core::Network>,
    /// Requests per minute, beside those of the plan.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_minute: Option<u32>,
    /// Calls per calendar month, beside those of the plan.
    #[arg(long)]
    pub(crate) monthly_calls: Option<u64>,
    /// Tokens per calendar month, beside those of the plan.
    #[arg(long)]
    pub(crate) monthly_tokens: Option<u64>,
    /// Money per month, beside that of the plan, such as `5.00 USD`.
    #[arg(long, value_parser = money)]
    pub(crate) monthly_money: Option<aihub_core::Money>,
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
