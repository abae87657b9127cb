//! Keys with and without limits, and whether these held.

use super::books::{Books, hex};
use super::fleet::Fleet;
use super::judge::Check;
use super::load::Call;
use crate::Result;

/// What a key may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    None,
    Calls(i64),
    /// Nano-dollars in a month.
    Money(i64),
    /// What its account has paid in, in nano-dollars.
    Prepaid(i64),
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) secret: String,
    /// In hexadecimal digits.
    pub(super) id: String,
    pub(super) account: String,
    pub(super) limit: Limit,
}

/// An amount as a command takes it.
fn dollars(nanos: i64) -> String {
    format!("{}.{:09} USD", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

impl Key {
    /// Makes a key of an account of its own.
    pub(super) fn make(fleet: &Fleet, limit: Limit) -> Result<Self> {
        let mut args = vec!["keys", "create", "--name", "torture", "--plan", "enterprise"];
        let most = match limit {
            Limit::Calls(most) => most.to_string(),
            Limit::Money(most) => dollars(most),
            Limit::None | Limit::Prepaid(_) => String::new(),
        };
        match limit {
            Limit::Calls(_) => args.extend(["--monthly-calls", &most]),
            Limit::Money(_) => args.extend(["--monthly-money", &most]),
            Limit::None | Limit::Prepaid(_) => {}
        }
        let said = fleet.run(&args)?;
        let word = |start: &str| {
            let line = said.lines().find(|line| line.starts_with(start))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        let made = word("key").as_deref().and_then(hex).zip(word("account")).zip(said.lines().last());
        let ((id, account), secret) = made.ok_or_else(|| format!("`aihub keys create` printed no key:\n{said}"))?;
        let mut key = Self { secret: secret.to_owned(), id, account, limit: Limit::None };
        if let Limit::Prepaid(paid) = limit {
            fleet.run(&["accounts", "set", "--account", &key.account, "--prepaid", "USD"])?;
            key.limit = Limit::Prepaid(0);
            key.pay(fleet, paid, "first")?;
        } else {
            key.limit = limit;
        }
        Ok(key)
    }

    /// Pays in, and says so twice, as a payment service does.
    pub(super) fn pay(&mut self, fleet: &Fleet, nanos: i64, reference: &str) -> Result {
        let Limit::Prepaid(paid) = &mut self.limit else { return Ok(()) };
        let amount = dollars(nanos);
        for _ in 0..2 {
            let args =
                ["accounts", "top-up", "--account", &self.account, "--amount", &amount, "--reference", reference];
            fleet.run(&args)?;
        }
        *paid += nanos;
        Ok(())
    }
}

/// Whether no limit was passed, and nobody was refused for one who has none.
pub(super) fn limits(keys: &[Key], calls: &[Call], books: &Books) -> Vec<Check> {
    let mut free = Check::new("nobody is refused for a limit who has none");
    for call in calls.iter().filter(|call| keys[call.key].limit == Limit::None) {
        free.see(call.answer.status != 402, || format!("{call:?}"));
    }
    let mut kept = Check::new("no limit is passed");
    let mut paid = Check::new("what is left of what was paid in is that minus all charges, and not below nothing");
    for key in keys {
        let records: Vec<_> = books.records.iter().filter(|record| record.key == key.id).collect();
        let charged: i64 = records.iter().filter_map(|record| record.charge).sum();
        let counted = records.iter().filter(|record| record.counts()).count();
        match key.limit {
            Limit::None => {}
            Limit::Calls(most) => {
                let counted = i64::try_from(counted).unwrap_or(i64::MAX);
                kept.see(counted <= most, || format!("{counted} calls of {most}"));
            }
            Limit::Money(most) => kept.see(charged <= most, || format!("charged {charged} nanos of {most}")),
            Limit::Prepaid(total) => {
                kept.see(charged <= total, || format!("charged {charged} nanos of {total} that were paid in"));
                let purse = format!("{}/prepaid", key.account);
                let owed: i64 =
                    books.balances.iter().filter(|balance| balance.account == purse).map(|balance| balance.nanos).sum();
                paid.see(-owed == total - charged && owed <= 0, || format!("{total} − {charged} is not {}", -owed));
            }
        }
    }
    for window in &books.windows {
        // Only of keys and accounts a limit is agreed on here.
        kept.see(window.settled <= window.limit(), || window.to_string());
    }
    vec![free, kept, paid]
}
