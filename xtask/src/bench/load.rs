//! What is asked of the subjects, and how `wrk` asks it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::Result;
use crate::process::Program;

/// The model of the lines that keep the caller's dialect.
const OPENAI_MODEL: &str = "openai/gpt-4o-mini";
/// The model of the translated lines, by the name callers know and by the vendor's.
const GEMINI_MODEL: (&str, &str) = ("google/gemini-2.5-flash", "gemini-2.5-flash");

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    prompt_bytes: usize,
    pub(crate) stream: bool,
    pub(crate) vendor: Vendor,
}

/// Who answers, and so what the gateway has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    /// Speaks the caller's dialect.
    OpenRouter,
    /// Must be translated; the proxy passes Gemini's own dialect, which is the same traffic upstream.
    Gemini,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Gateway,
    Proxy,
}

const fn plain(name: &'static str, connections: usize, prompt_bytes: usize) -> Scenario {
    Scenario { name, connections, prompt_bytes, stream: false, vendor: Vendor::OpenRouter }
}

/// Prompts of 200 bytes make bodies of about 330, which is what others measured with.
pub(crate) const SCENARIOS: [Scenario; 7] = [
    plain("plain chat, 1 connection", 1, 200),
    plain("plain chat, 32", 32, 200),
    plain("plain chat, 128", 128, 200),
    plain("64 KiB prompt, 32", 32, 64 * 1024),
    Scenario { stream: true, ..plain("stream of 50 events, 32", 32, 200) },
    Scenario { vendor: Vendor::Gemini, ..plain("Gemini translated, 32", 32, 200) },
    Scenario { vendor: Vendor::Gemini, stream: true, ..plain("Gemini translated stream, 32", 32, 200) },
];

/// A request of the OpenAI dialect as callers send it.
pub(crate) fn chat(model: &str, prompt: &str, stream: bool) -> String {
    let stream = if stream { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
    format!(
        r#"{{"model":"{model}","messages":[{{"role":"system","content":"You answer in one sentence."}},{{"role":"user","content":"{prompt}"}}],"max_tokens":200{stream}}}"#
    )
}

impl Scenario {
    /// Path and body of the request for this subject.
    pub(crate) fn request(&self, subject: Subject) -> (String, String) {
        let prompt = prompt(self.prompt_bytes);
        match (self.vendor, subject) {
            (Vendor::OpenRouter, _) => ("/v1/chat/completions".into(), chat(OPENAI_MODEL, &prompt, self.stream)),
            (Vendor::Gemini, Subject::Gateway) => {
                ("/v1/chat/completions".into(), chat(GEMINI_MODEL.0, &prompt, self.stream))
            }
            (Vendor::Gemini, Subject::Proxy) => {
                let method = if self.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                let body = format!(
                    r#"{{"systemInstruction":{{"parts":[{{"text":"You answer in one sentence."}}]}},"contents":[{{"role":"user","parts":[{{"text":"{prompt}"}}]}}],"generationConfig":{{"maxOutputTokens":200}}}}"#
                );
                (format!("/v1beta/models/{}:{method}", GEMINI_MODEL.1), body)
            }
        }
    }

    /// What the end of a whole answer looks like, to know before measuring that the subject does its work.
    pub(crate) fn proof(&self, subject: Subject) -> &'static str {
        match (self.vendor, subject) {
            (Vendor::Gemini, Subject::Proxy) => "\"candidatesTokenCount\":",
            _ if self.stream => "data: [DONE]",
            _ => "\"completion_tokens\":",
        }
    }
}

/// English-looking words of this many bytes in all.
fn prompt(bytes: usize) -> String {
    let words = "The quick brown fox jumps over the lazy dog and wonders what the capital of France may be today. ";
    words.chars().cycle().take(bytes).collect()
}

/// One counted run, as the script of `wrk` tells it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Counted {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    errors: Errors,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Errors {
    connect: u64,
    read: u64,
    write: u64,
    status: u64,
    timeout: u64,
}

const MARK: &str = "counted: ";

/// Writes the script that sends one request again and again and prints the counts as JSON.
pub(crate) fn script(folder: &Path, name: &str, key: &str, path: &str, body: &str) -> Result<PathBuf> {
    let mut text = String::from("wrk.method = \"POST\"\n");
    writeln!(text, "wrk.path = \"{path}\"")?;
    writeln!(text, "wrk.headers[\"content-type\"] = \"application/json\"")?;
    writeln!(text, "wrk.headers[\"authorization\"] = \"Bearer {key}\"")?;
    writeln!(text, "wrk.body = [==[{body}]==]")?;
    text += r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'counted: {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect, e.read, e.write, e.status, e.timeout))
end
"#;
    let file = folder.join(format!("{name}.lua"));
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Runs `wrk` on its core; an answer that is not a success, or no answer, makes the run worthless and is an error.
pub(crate) fn drive(port: u16, script: &Path, connections: usize, length: Duration, cpu: usize) -> Result<Counted> {
    let output = Program::new("wrk")
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", length.as_secs().max(1)), "--timeout", "10s", "--script"])
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}"))
        .on_cpu(cpu)
        .read(length + Duration::from_mins(1), false)?;
    counts(&output)
}

fn counts(output: &str) -> Result<Counted> {
    let line = output.lines().find_map(|line| line.strip_prefix(MARK));
    let line = line.ok_or_else(|| format!("wrk printed no counts:\n{output}"))?;
    let counted: Counted = serde_json::from_str(line)?;
    let Errors { connect, read, write, status, timeout } = counted.errors;
    if connect + read + write + status + timeout > 0 {
        return Err(format!("the run had errors and is not counted: {:?}", counted.errors).into());
    }
    if counted.requests < 1.0 {
        return Err("the run had no answers".into());
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_make_a_run_worthless() {
        let line = |status, requests| {
            format!(
                "Running …\ncounted: {{\"requests\":{requests},\"seconds\":3.0,\"p50_ms\":1.5,\"p99_ms\":2,\
                 \"errors\":{{\"connect\":0,\"read\":0,\"write\":0,\"status\":{status},\"timeout\":0}}}}\n"
            )
        };
        assert!(counts(&line(0, 10)).unwrap().requests > 9.0);
        assert!(counts(&line(1, 10)).is_err());
        assert!(counts(&line(0, 0)).is_err());
        assert!(counts("unable to connect").is_err());
    }

    #[test]
    fn requests_are_valid_json_of_the_size_they_say() {
        for scenario in SCENARIOS {
            for subject in [Subject::Gateway, Subject::Proxy] {
                let (_, body) = scenario.request(subject);
                serde_json::from_str::<serde_json::Value>(&body).unwrap();
                assert!(body.len() > scenario.prompt_bytes && body.len() < scenario.prompt_bytes + 300);
            }
        }
    }
}
