//! `aihub prices`: what is in force, and what somebody proposes instead.

use std::io::ErrorKind::NotFound;
use std::path::Path;
use std::sync::Arc;

use aihub_core::{Catalogue as _, Clock, Error, PriceList, SystemClock, Timestamp};
use aihub_providers::catalogue::import::{self, Candidate, Change, Rules};

use crate::cli::Prices;
use crate::settings::{Settings, SettingsError};
use crate::{Stop, parts};

pub(crate) fn run(command: &Prices, settings: &Settings) -> Result<(), Stop> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    match command {
        Prices::List => list(settings, &clock),
        Prices::Import { file, dry_run, max_drift, accept_drift, valid_from } => {
            let now = clock.now();
            let from = valid_from.unwrap_or(now);
            if from < now {
                let message = format!(
                    "--valid-from {from} is past, and what was charged since by another price is closed: name an instant \
                     to come"
                );
                return Err(SettingsError(message).into());
            }
            let rules = Rules { max_drift_percent: *max_drift, accept_drift: accept_drift.clone() };
            import(settings, file, &rules, from, *dry_run)
        }
    }
}

fn list(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<(), Stop> {
    let now = clock.now();
    let (_, vendors) = parts::providers(settings, clock)?;
    let (sold, _) = parts::models(settings, &vendors, now)?;
    let models = sold.list();
    if models.is_empty() {
        println!("Nothing is sold: no provider has a key.");
    }
    for (model, offer) in models.iter().flat_map(|model| model.offers.iter().map(move |offer| (model, offer))) {
        let prices = match offer.prices.at(now) {
            Some(prices) => format!("{}  {}", prices.version, shown(&prices.list)),
            None => "not in force yet".to_owned(),
        };
        println!("{:44} {:12} {prices}", model.id, offer.provider);
        for later in offer.prices.lists().iter().filter(|prices| prices.valid_from > now) {
            println!("{:57} {}  {}, from {}", "", later.version, shown(&later.list), later.valid_from);
        }
    }
    Ok(())
}

fn import(settings: &Settings, file: &Path, rules: &Rules, from: Timestamp, dry_run: bool) -> Result<(), Stop> {
    let own = Path::new(&settings.catalogue.file);
    let named = !settings.catalogue.file.is_empty();
    if !dry_run && !named {
        let message = "there is no file for the prices: set `catalogue.file` to one, or add --dry-run";
        return Err(SettingsError(message.to_owned()).into());
    }
    let proposed = std::fs::read(file).map_err(failed("read", file))?;
    let candidate =
        Candidate::read(&proposed).map_err(|error| SettingsError(format!("{}: {error}", file.display())))?;
    let text = match std::fs::read_to_string(own) {
        Ok(text) => Some(text),
        // The first import makes it.
        Err(error) if !named || error.kind() == NotFound => None,
        Err(error) => return Err(failed("read", own)(error)),
    };
    let entries = parts::entries(settings, text.as_deref())?;
    if let Some(id) = rules.accept_drift.iter().find(|id| entries.iter().all(|entry| entry.id != **id)) {
        return Err(SettingsError(format!("--accept-drift {id} names no model of the catalogue")).into());
    }
    let review = import::review(&entries, &candidate, from, rules);
    for change in &review.changes {
        println!("{}", line(change));
    }
    let refused = review.changes.iter().filter(|change| change.after.is_err()).count();
    let accepted = review.changes.len() - refused;
    let (unchanged, unknown) = (review.unchanged, review.unknown);
    println!(
        "{accepted} accepted, {refused} refused, {unchanged} unchanged, {unknown} of models that are not sold here"
    );
    if dry_run {
        println!("Nothing was written.");
    } else if accepted > 0 {
        let text = import::write(text.as_deref(), &review.changes, from)?;
        replace(own, &text)?;
        println!("{} has them from {from} on. Servers read it when they start: restart them.", own.display());
    }
    if refused == 0 {
        return Ok(());
    }
    let message =
        format!("{refused} prices were refused: correct them, or accept what moved too far with --accept-drift MODEL");
    Err(Error::invalid("prices", message).into())
}

/// Whole or not at all: a server that starts meanwhile reads the file as it was or as it will be.
fn replace(file: &Path, text: &str) -> Result<(), Stop> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    std::fs::write(new, text).map_err(failed("written", new))?;
    std::fs::rename(new, file).map_err(failed("written", file))
}

fn failed<'a>(done: &'a str, file: &'a Path) -> impl Fn(std::io::Error) -> Stop + 'a {
    move |error| Stop::Io { what: format!("{} could not be {done}", file.display()), error }
}

fn line(change: &Change) -> String {
    let before = change.before.as_ref().map_or_else(|| "not sold".to_owned(), shown);
    let after = match &change.after {
        Ok(accepted) => format!("accepted  {before} -> {}", shown(accepted.list())),
        Err(why) => format!("refused   {why}"),
    };
    format!("{:44} {:12} {after}", change.model, change.place.to_string())
}

/// What it costs, in the least words.
fn shown(list: &PriceList) -> String {
    let base = list.base();
    let tiers = match list.tiers().len() {
        0 => String::new(),
        some => format!(" and {some} more for long prompts"),
    };
    let (input, output) = (base.input.decimal_per_million(), base.output.decimal_per_million());
    format!("{input} in, {output} out {}/M{tiers}", list.currency())
}
