use std::fs;
use std::net::IpAddr;

use aihub_core::quota::{Span, Subject, Unit};
use aihub_core::{
    AccountId, CallId, Currency, Funding, KeyId, ManualClock, Markup, Money, OrganisationId, Outcome, Timestamp, Usage,
};
use proptest::prelude::*;

use super::*;

fn at() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn record(output: u64) -> UsageRecord {
    let (call, account, key) = (CallId::new(at()), AccountId::new(at()), KeyId::new(at()));
    let mut record = UsageRecord::from_parts(call, at(), account, key, "pro".into(), "chat", "vendor/model".into());
    record.usage = Usage::new(100, output);
    record.outcome = Outcome::Completed;
    record
}

fn window() -> Window {
    let subject = Subject::Account(AccountId::new(at()));
    Window { subject, unit: Unit::Money(Currency::USD), span: Span::Month, starts_at: at() }
}

fn small(folder: &Path) -> JournalSettings {
    JournalSettings { segment_bytes: 16 << 10, most_bytes: 64 << 10, ..JournalSettings::new(folder) }
}

async fn open(settings: JournalSettings) -> (FileJournal, Recovered) {
    FileJournal::open(settings, &ManualClock::default()).await.unwrap()
}

fn all(journal: &FileJournal) -> Vec<Entry> {
    let mut reader = journal.read(Position::default());
    std::iter::from_fn(|| reader.next(journal.end()).unwrap()).collect()
}

/// The only file with entries.
fn segment(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "journal") && fs::metadata(path).unwrap().len() > 64);
    files.pop().unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(small(folder.path())).await;
    let (draft, end) = (record(0), record(7));
    let mark = Progress::new(draft.call, Usage::new(1, 2));
    journal.admit().unwrap();
    assert!(journal.dispatched(&draft).unwrap().is_none());
    journal.progressed(&mark);
    assert!(journal.settled(&end, &[window()]).is_none());
    assert_eq!(journal.open_calls(), 0);
    let entries = all(&journal);
    assert_eq!(entries[0], Entry::Dispatched(Box::new(draft)));
    assert_eq!(entries[1], Entry::Progressed(Box::new(mark)));
    let Entry::Settled(settled) = &entries[2] else { panic!("{entries:?}") };
    assert_eq!((&settled.record, settled.windows.len(), settled.held_by), (&end, 1, None));
}

// failure: process | killed while a call is with a vendor | the next start settles it as far as its answer had come, marked `recovered`
#[tokio::test]
async fn a_call_without_an_end_is_found_with_its_last_mark() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(small(folder.path())).await;
    let (done, cut, silent) = (record(0), record(0), record(0));
    for draft in [&done, &cut, &silent] {
        journal.dispatched(draft).unwrap();
    }
    let mut mark = Progress::new(cut.call, Usage::new(100, 3));
    mark.generation = Some("gen-1".into());
    journal.progressed(&Progress::new(cut.call, Usage::new(100, 1)));
    journal.progressed(&mark);
    journal.settled(&done, &[]);
    let run = journal.run();
    drop(journal);
    let (journal, recovered) = open(small(folder.path())).await;
    assert_eq!(recovered.runs, [run]);
    assert_ne!(journal.run(), run);
    let mut unsettled = recovered.unsettled;
    unsettled.sort_by_key(|call| call.mark.is_none());
    let [first, second] = &unsettled[..] else { panic!("{unsettled:?}") };
    let calls = |call: &Unsettled| (call.draft.call, call.mark.is_some());
    assert_eq!((calls(first), calls(second)), ((cut.call, true), (silent.call, false)));
    assert_eq!((first.record().usage.output, first.record().generation.as_deref()), (3, Some("gen-1")));
    journal.recover(&first.record(), run);
    let Some(Entry::Settled(end)) = all(&journal).pop() else { panic!("nothing was recovered") };
    assert_eq!(end.held_by, Some(run));
    drop(journal);
    assert_eq!(open(small(folder.path())).await.1.unsettled.len(), 1);
}

// failure: process | killed while it writes the journal | the torn tail is cut; every whole entry counts
#[tokio::test]
async fn cut_at_any_byte_every_whole_entry_is_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(small(folder.path())).await;
    let mut ends = vec![journal.end().offset];
    for output in 0..3 {
        journal.dispatched(&record(output)).unwrap();
        ends.push(journal.end().offset);
    }
    drop(journal);
    let whole = fs::read(segment(folder.path())).unwrap();
    for length in usize::try_from(segment::HEAD).unwrap()..=whole.len() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("0000000000000001.journal"), &whole[..length]).unwrap();
        let (journal, recovered) = open(small(folder.path())).await;
        let kept = ends.iter().filter(|end| **end <= length as u64).count() - 1;
        assert_eq!(recovered.unsettled.len(), kept, "cut at {length}");
        assert_eq!(recovered.torn_bytes, length as u64 - ends[kept]);
        assert_eq!(all(&journal).len(), kept);
    }
}

// failure: journal | damaged in the middle | the start is refused, with the file, the byte and how much stands behind it
#[tokio::test]
async fn damage_before_the_end_is_not_read_over() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(small(folder.path())).await;
    let first = journal.end().offset;
    (0..3).for_each(|output| drop(journal.dispatched(&record(output)).unwrap()));
    drop(journal);
    let path = segment(folder.path());
    let whole = fs::read(&path).unwrap();
    let at = usize::try_from(first).unwrap();
    for damaged in [at, at + 4, at + 8, at + 40] {
        let mut bytes = whole.clone();
        bytes[damaged] ^= 1;
        fs::write(&path, bytes).unwrap();
        let refused = FileJournal::open(small(folder.path()), &ManualClock::default()).await;
        let error = refused.map(drop).unwrap_err();
        assert_eq!(error.code(), "journal_unusable");
        assert!(error.to_string().contains(&format!("byte {first}: 2 more entries")), "{error}");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(open(small(folder.path())).await.1.unsettled.len(), 3);
}

// failure: journal | full | new calls 503 `metering_unavailable`; taken again as soon as the store has taken it over
#[tokio::test]
async fn a_journal_that_nobody_takes_over_is_full_and_one_that_is_taken_over_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(small(folder.path())).await;
    let mut written = 0;
    while journal.admit().is_ok() {
        if journal.dispatched(&record(1)).is_err() {
            journal.settled(&record(1), &[]);
            written += 1;
            break;
        }
        journal.settled(&record(1), &[]);
        written += 2;
        // The reserve is made by a task of its own.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(written < 10_000, "it has no end");
    }
    let size: u64 = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(size <= 64 << 10, "{size}");
    assert_eq!(journal.admit().unwrap_err().code(), "metering_unavailable");
    assert_eq!((all(&journal).len(), journal.open_calls()), (written, 0));
    journal.trim(journal.end().segment).unwrap();
    while journal.admit().is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(all(&journal).len() < written);
}

// failure: journal | full while calls run | they end; their room was set aside
#[tokio::test]
async fn running_calls_end_in_a_journal_that_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(JournalSettings { most_bytes: 0, ..small(folder.path()) }).await;
    let running = std::iter::from_fn(|| journal.admit().ok()).count();
    assert_eq!(running as u64, (16 << 10) / ROOM - 1, "the head takes a little of the room of one");
    let mut long = record(1);
    long.user_agent = Some("x".repeat(10_000).into());
    (0..running).for_each(|_| drop(journal.settled(&long, &vec![window(); 8])));
    let read = all(&journal);
    let Entry::Settled(end) = &read[0] else { panic!("{read:?}") };
    assert_eq!((read.len(), end.record.user_agent.as_ref().unwrap().len()), (running, 512));
}

// failure: journal | in use by another process | the start is refused
#[tokio::test]
async fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = open(small(folder.path())).await;
    let second = FileJournal::open(small(folder.path()), &ManualClock::default()).await;
    assert!(second.map(drop).unwrap_err().to_string().contains("another process"));
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wait_for_the_disk_together() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings { durability: Durability::Disk, ..JournalSettings::new(folder.path()) };
    let (journal, _) = open(settings).await;
    let waits: Vec<_> = (0..100).map(|output| tokio::spawn(journal.settled(&record(output), &[]).unwrap())).collect();
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(all(&journal).len(), 100);
}

// failure: journal | a write fails | kept in memory, nothing is admitted, written into a new segment
#[tokio::test]
async fn a_failed_write_is_kept_and_goes_into_another_segment() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(small(folder.path())).await;
    journal.settled(&record(1), &[]);
    journal.0.mending.keep(entry::settled(&record(2), &[], None));
    assert!(journal.admit().is_err(), "nothing is admitted while something waits");
    journal.settled(&record(3), &[]);
    while journal.admit().is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let outputs: Vec<_> = all(&journal)
        .into_iter()
        .map(|entry| if let Entry::Settled(end) = entry { end.record.usage.output } else { 0 })
        .collect();
    assert_eq!((outputs, journal.end().segment > 1), (vec![1, 2, 3], true));
}

prop_compose! {
    fn records()(
        output in any::<u64>(), nanos in any::<Option<i64>>(), text in ".{0,600}", ppm in -1_000_000..i32::MAX,
        outcome in 0..5_usize, flags in any::<[bool; 4]>(), first in any::<Option<u64>>(),
    ) -> UsageRecord {
        let mut record = record(output);
        let text = &text[..text.floor_char_boundary(512)];
        (record.cost, record.charge) = (nanos.map(|nanos| Money::from_nanos(nanos, Currency::USD)), None);
        record.model = text.into();
        record.user_agent = flags[0].then(|| text.into());
        record.organisation = flags[1].then(|| OrganisationId::new(at()));
        record.funding = if flags[2] { Funding::Prepaid(Currency::USD) } else { Funding::Postpaid };
        record.discarded.searches = output / 2;
        record.markup = Markup::from_ppm(ppm).unwrap();
        record.outcome = [
            Outcome::Completed, Outcome::ClientGone, Outcome::UpstreamFailed, Outcome::GatewayFailed, Outcome::Refused,
        ][outcome];
        record.recovered = flags[3];
        record.first_event_us = first;
        record.ip = flags[0].then_some(IpAddr::from([127, 0, 0, 1]));
        record
    }
}

proptest! {
    #[test]
    fn every_record_comes_back_as_it_was(record in records()) {
        let bytes = entry::settled(&record, &[window()], None);
        let (entry, length) = entry::read(&bytes).unwrap();
        let Entry::Settled(settled) = entry else { panic!("{entry:?}") };
        prop_assert_eq!((settled.record, length), (record, bytes.len()));
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..6_u8) {
        drop(entry::read(&bytes));
        // With a check that holds, so that the bodies are read, too.
        let mut framed = vec![0; 9];
        framed[8] = kind;
        framed.extend(&bytes);
        let check = crc32fast::hash(&framed[8..]);
        framed[..4].copy_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        framed[4..8].copy_from_slice(&check.to_le_bytes());
        drop(entry::read(&framed));
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_an_entry(record in records(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = entry::settled(&record, &[], None);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(entry::read(&bytes).is_err());
    }
}

/// As [`open`], of a folder whose last user may still be looking after it.
async fn open_again(folder: &Path) -> (FileJournal, Recovered) {
    loop {
        match FileJournal::open(small(folder), &ManualClock::default()).await {
            Ok(opened) => return opened,
            Err(error) => assert!(error.to_string().contains("another process"), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// A process that was killed when all was taken over leaves nothing to take over, and what it had borrowed still has to
/// go back: the next one has to know that the books are there, and who it was until then.
#[tokio::test]
async fn after_a_kill_without_anything_to_take_over_the_books_are_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (books, clock) = (Arc::new(crate::memory::MemoryBooks::new()), Arc::new(ManualClock::default()));
    let run = {
        let (journal, _) = open_again(folder.path()).await;
        journal.settled(&record(1), &[]);
        let mut shipper = Shipper::new(journal.clone(), books.clone(), clock.clone()).await.unwrap();
        assert_eq!(shipper.tick().await.unwrap(), 1);
        assert!(shipper.reached() >= journal.end());
        journal.run()
    };
    for _ in 0..2 {
        let (journal, recovered) = open_again(folder.path()).await;
        assert!(recovered.runs.contains(&run), "killed again before it gave back what that one had borrowed");
        let shipper = Shipper::new(journal.clone(), books.clone(), clock.clone()).await.unwrap();
        let mut shipper = shipper.keeping_earlier();
        let begin = journal.end();
        assert!(shipper.reached() < begin);
        assert_eq!(shipper.tick().await.unwrap(), 0);
        assert!(shipper.reached() >= begin, "{} < {begin}", shipper.reached());
    }
    let (journal, recovered) = open_again(folder.path()).await;
    assert_eq!(recovered.runs.len(), 3);
    let mut shipper = Shipper::new(journal.clone(), books, clock).await.unwrap().keeping_earlier();
    shipper.forget_earlier();
    journal.settled(&record(2), &[]);
    assert_eq!(shipper.tick().await.unwrap(), 1);
    drop((shipper, journal));
    assert_eq!(open_again(folder.path()).await.1.runs.len(), 1);
}
