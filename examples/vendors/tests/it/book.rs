//! What the vendors say they bill, against what they answered.

use aihub_vendors::{End, Line, Served, Vendors};
use http_body_util::BodyExt as _;

use crate::{BOTH, Dialect, json_of};

/// The only line of this question.
fn line(vendors: &Vendors, asked: &str) -> Line {
    let lines: Vec<Line> = vendors.book().into_iter().filter(|line| line.asked.contains(asked)).collect();
    assert_eq!(lines.len(), 1, "{asked}: {lines:?}");
    lines.into_iter().next().unwrap()
}

/// The tokens of prompt and answer that an answer says.
fn said(dialect: Dialect, answer: &serde_json::Value) -> (u64, u64) {
    let number = |place: &str| answer.pointer(place).and_then(serde_json::Value::as_u64).unwrap_or(0);
    match dialect {
        Dialect::OpenRouter => (number("/usage/prompt_tokens"), number("/usage/completion_tokens")),
        Dialect::Gemini => (
            number("/usageMetadata/promptTokenCount"),
            number("/usageMetadata/candidatesTokenCount") + number("/usageMetadata/thoughtsTokenCount"),
        ),
    }
}

#[tokio::test]
async fn the_book_says_what_the_answer_said_whatever_was_left_and_nothing_for_a_refusal() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (_, answer) = json_of(dialect.ask(&vendors, "first question", false).await).await;
        let whole = line(&vendors, "first question");
        assert_eq!(whole.served, Served::Whole);
        assert_eq!((whole.prompt, whole.completion), said(dialect, &answer), "{answer}");
        let name = answer["id"].as_str().or(answer["responseId"].as_str());
        assert_eq!(whole.generation.as_deref(), name);

        dialect.ask(&vendors, "second [[status 503]]", false).await;
        let refused = line(&vendors, "second");
        assert_eq!((refused.served, refused.prompt, refused.completion), (Served::Failed, 0, 0));

        let mut left = dialect.ask(&vendors, "third [[events 500]] [[slow 5ms]]", true).await;
        left.body_mut().frame().await.unwrap().unwrap();
        drop(left);
        vendors.until(|seen| seen.end == Some(End::ClientLeft)).await;
        let left = line(&vendors, "third");
        assert!(left.served == Served::Left && left.stream && (1..500).contains(&left.completion), "{left:?}");

        drop(dialect.ask(&vendors, "fourth [[events 9]] [[cut after 3]]", true).await.into_body().collect().await);
        let cut = line(&vendors, "fourth");
        assert_eq!((cut.served, cut.completion), (Served::Failed, 3));
        vendors.forget();
        assert_eq!(vendors.book().len(), 4, "what was seen is forgotten, what is billed is not");
    }
}
