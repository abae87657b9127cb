//! What callers are told of leaving before the end.

use std::time::Duration;

use aihub_core::model::ModelKind;
use aihub_core::{Departures, Model, OnDeparture};
use serde::Serialize;
use utoipa::ToSchema;

/// What becomes of calls of a model whose caller leaves, and what it pays for them. Where several upstreams serve the model,
/// it is what the caller has to expect at most.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Disconnect {
    #[serde(flatten)]
    usual: Leaving,
    /// The same where no stream was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<Leaving>,
}

/// What is done, and what is charged then.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Leaving {
    /// `cancel`, `drain` or `void`.
    #[schema(example = "drain")]
    policy: &'static str,
    /// What is charged.
    charged: String,
}

impl Disconnect {
    pub(crate) fn of(model: &Model, departures: &Departures) -> Self {
        let of = |stream| Leaving::at_most(model.offers.iter().map(|offer| departures.of(offer, stream)), stream);
        // Embeddings do not come in pieces.
        if model.kind == ModelKind::Embedding {
            return Self { usual: of(false), whole: None };
        }
        Self { usual: of(true), whole: Some(of(false)) }
    }
}

impl Leaving {
    fn at_most(policies: impl Iterator<Item = OnDeparture>, stream: bool) -> Self {
        let worst = policies.max_by_key(|then| match then {
            OnDeparture::Void => (0, Duration::ZERO),
            OnDeparture::Cancel => (1, Duration::ZERO),
            OnDeparture::Drain { within, .. } => (2, *within),
        });
        match worst.unwrap_or_default() {
            OnDeparture::Void => Self { policy: "void", charged: "Nothing.".to_owned() },
            OnDeparture::Cancel if stream => {
                let charged = "The prompt, and what was answered until you left: measured here, until the upstream has counted it.";
                Self { policy: "cancel", charged: charged.to_owned() }
            }
            OnDeparture::Cancel => Self { policy: "cancel", charged: "The prompt, measured here.".to_owned() },
            OnDeparture::Drain { within, cost_cap } => {
                let seconds = within.as_secs();
                let cap = cost_cap.filter(|_| stream).map(|cap| format!(" and {cap} of the upstream's price"));
                let charged = format!(
                    "All that the upstream counts, which goes on after you left; for at most {seconds} s{} more.",
                    cap.unwrap_or_default()
                );
                Self { policy: "drain", charged }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aihub_core::{Currency, DepartureRule, Money, Offer, PriceList};

    use super::*;

    #[test]
    fn the_dearest_policy_of_all_upstreams_is_told() {
        let cost_cap = Some(Money::parse("0.05", Currency::USD).unwrap());
        let drain = OnDeparture::Drain { within: Duration::from_secs(30), cost_cap };
        let rule = |provider: &str, stream, then| DepartureRule {
            provider: provider.into(),
            model: "*".to_owned(),
            stream,
            then,
        };
        let table = Departures::from_iter([rule("a", Some(true), drain), rule("b", None, OnDeparture::Void)]);
        let offers = ["a", "b"].map(|name| Offer::new(name, "m", PriceList::flat("1", "1").unwrap()));
        let told = |model: &Model| serde_json::to_value(Disconnect::of(model, &table)).unwrap();
        let chat = told(&Model::chat("m", offers.clone()));
        assert_eq!((&chat["policy"], &chat["whole"]["policy"]), (&"drain".into(), &"cancel".into()));
        let charged = chat["charged"].as_str().unwrap();
        assert!(charged.contains("30 s") && charged.contains("0.05 USD"), "{charged}");
        let [_, void] = offers;
        let embedding = told(&Model::embedding("e", [void]));
        assert_eq!((&embedding["policy"], embedding.get("whole")), (&"void".into(), None));
    }
}
