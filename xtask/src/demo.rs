//! The shortest way from a clone to an answered call.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::hub::{Hub, Setting, VENDOR_KEYS, Vendors};
use crate::place::{self, Profile};
use crate::process::{Program, free_port};
use crate::{Result, helped, setup};

const HELP: &str = "Usage: cargo xtask demo [--once]

Builds the reference server and starts it on its embedded database, with scripted OpenRouter and Gemini vendors beside
it; makes a developer with an API key; prints the address, the key and curl lines that work as pasted. Ctrl-C stops all.

With OPENROUTER_API_KEY or GEMINI_API_KEY in the environment the real vendors are called instead, those that have a key.

  --once   run the printed curl lines, look at the answers, stop; fails when one is wrong";

/// Where people look first.
const USUAL_PORT: u16 = 8080;

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let once = match args {
        [] => false,
        [arg] if arg == "--once" => true,
        _ => return Err(format!("unknown option `{}`\n\n{HELP}", args.join(" ")).into()),
    };
    setup::tool("curl", "curl")?;
    // The quicker build: who tries something waits for the compiler, not for the answers.
    place::build(Profile::Debug, &["aihub-server", "aihub-vendors"])?;
    let (_vendors, mut hub) = start(once)?;
    let key = hub.create_key("demo", None)?;
    let lines = curl_lines(&hub, &key);
    println!("\nThe server is at {}\nThe key is       {key}\n", hub.origin());
    println!("A whole answer:\n\n{}\n\nA stream:\n\n{}\n", lines[0], lines[1]);
    if once {
        return verify(&lines);
    }
    println!("The log and the database are in {}. Ctrl-C stops everything.", hub.setting.folder.display());
    let status = hub.running.forever()?;
    Err(format!("the server ended ({status}){}", hub.running.tail()).into())
}

/// Starts the vendors, unless real ones can be called, and the server.
fn start(once: bool) -> Result<(Option<Vendors>, Hub)> {
    // A demo that tests run must not empty the folder of one that a person is looking at.
    let folder = place::fresh(if once { "demo-once" } else { "demo" })?;
    let port = if once { free_port()? } else { port()? };
    let vendors = if real_vendors().is_empty() {
        Some(Vendors::start(Profile::Debug, &folder)?)
    } else {
        println!("Calling the real vendors: {} set.", real_vendors().join(" and "));
        None
    };
    let addresses = vendors.as_ref().map(|vendors| vendors.addresses.clone());
    let setting =
        Setting { profile: Profile::Debug, folder, port, vendors: addresses, cpu: None, settings: Vec::new() };
    Ok((vendors, setting.start()?))
}

/// The names of the vendors' keys that the environment holds.
fn real_vendors() -> Vec<&'static str> {
    let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    VENDOR_KEYS.into_iter().filter(set).collect()
}

/// The usual port, or a free one with a word about it.
fn port() -> Result<u16> {
    if TcpListener::bind(("127.0.0.1", USUAL_PORT)).is_ok() {
        return Ok(USUAL_PORT);
    }
    let port = free_port()?;
    println!("Port {USUAL_PORT} is taken; using {port}.");
    Ok(port)
}

/// A call with a whole answer and one with a stream, by two vendors where both can be called.
fn curl_lines(hub: &Hub, key: &str) -> [String; 2] {
    let gemini = "google/gemini-2.5-flash";
    let plain = if real_vendors() == ["GEMINI_API_KEY"] { gemini } else { "openai/gpt-4o-mini" };
    [curl_line(&hub.origin(), key, plain, false), curl_line(&hub.origin(), key, gemini, true)]
}

fn curl_line(origin: &str, key: &str, model: &str, stream: bool) -> String {
    let flags = if stream { "-sSN" } else { "-sS" };
    let stream = if stream { r#", "stream": true"# } else { "" };
    format!(
        "curl {flags} --fail-with-body {origin}/v1/chat/completions \\\n  -H 'Authorization: Bearer {key}' \\\n  \
         -H 'Content-Type: application/json' \\\n  \
         -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Say hello.\"}}]{stream}}}'"
    )
}

/// Runs the lines as they were printed and looks at what came back.
fn verify(lines: &[String; 2]) -> Result {
    let patience = Duration::from_mins(2);
    let whole = Program::shell(&lines[0]).read(patience, true)?;
    println!();
    whole_answer(&whole)?;
    let stream = Program::shell(&lines[1]).read(patience, true)?;
    streamed_answer(&stream)?;
    println!("\nBoth curl lines were answered.");
    Ok(())
}

fn whole_answer(text: &str) -> Result {
    let answer: Value = serde_json::from_str(text)?;
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    let tokens = answer["usage"]["total_tokens"].as_u64().unwrap_or(0);
    if content.is_empty() || tokens == 0 {
        return Err("the answer has no text or no usage".into());
    }
    Ok(())
}

fn streamed_answer(text: &str) -> Result {
    let mut content = String::new();
    let mut last = "";
    for data in text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
        last = data;
        if data != "[DONE]" {
            let event: Value = serde_json::from_str(data)?;
            content += event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        }
    }
    if content.is_empty() || last != "[DONE]" {
        return Err("the stream has no text or no end mark".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_text_usage_or_end_are_refused() {
        whole_answer(r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"total_tokens":3}}"#).unwrap();
        assert!(whole_answer(r#"{"choices":[{"message":{"content":""}}],"usage":{"total_tokens":3}}"#).is_err());
        assert!(whole_answer(r#"{"choices":[{"message":{"content":"hi"}}]}"#).is_err());
        assert!(whole_answer("oops").is_err());

        let event = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
        streamed_answer(&format!(": comment\n\n{event}data: [DONE]\n\n")).unwrap();
        assert!(streamed_answer(event).is_err());
        assert!(streamed_answer("data: [DONE]\n\n").is_err());
    }

    #[test]
    fn the_body_of_a_curl_line_is_json() {
        for stream in [false, true] {
            let line = curl_line("http://127.0.0.1:1", "ahub_key", "a/b", stream);
            let body = line.split("-d '").nth(1).unwrap().trim_end_matches('\'');
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["stream"].as_bool().unwrap_or(false), stream);
        }
    }
}
