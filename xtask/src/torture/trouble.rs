//! What goes wrong, one thing after the other, while callers call.

use std::thread;
use std::time::Duration;

use super::chance::Chance;
use super::fleet::{Fleet, Store};
use super::keys::Key;
use crate::Result;
use crate::process::now;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) kills: usize,
    pub(super) pauses: usize,
    pub(super) databases: usize,
    pub(super) stops: usize,
    pub(super) payments: usize,
    pub(super) steps: usize,
}

/// Kills servers `kills` times, and does other things in between, for at least `length`. Every server and the database
/// are up at the end.
pub(super) fn make(
    fleet: &mut Fleet,
    keys: &mut [Key],
    chance: &mut Chance,
    kills: usize,
    length: Duration,
) -> Result<Done> {
    let (start, mut done) = (now(), Done::default());
    let pause = length / u32::try_from(kills + 1)?.max(1);
    while done.kills < kills || start.elapsed() < length {
        thread::sleep(chance.pause(100, usize::try_from(pause.as_millis())?.max(200)));
        let number = chance.below(fleet.servers.len());
        // By less than replicas' clocks may differ.
        let seconds = i64::try_from(chance.below(241))? - 120;
        done.steps += usize::from(fleet.step(number, seconds)?);
        let has_database = matches!(fleet.store, Store::Postgres(_));
        // However the dice fall, the database is gone once, and half way.
        let due = has_database && done.databases == 0 && done.kills * 2 >= kills;
        match if due { 3 } else { chance.below(10) } {
            0 | 1 => {
                fleet.signal(number, "STOP")?;
                thread::sleep(chance.pause(100, 1_500));
                fleet.signal(number, "CONT")?;
                done.pauses += 1;
            }
            2 if has_database => {
                let gone = chance.pause(200, 3_000);
                fleet.without_database(gone, |_| Ok(()))?;
                done.databases += 1;
            }
            // Both at once: what a server has written and not said is all that there is.
            3 if has_database && (due || done.kills < kills) => {
                let gone = chance.pause(0, 1_000);
                fleet.without_database(gone, |fleet| fleet.kill(number))?;
                fleet.up(number)?;
                done.kills += 1;
                done.databases += 1;
            }
            4 => {
                for key in &mut *keys {
                    key.pay(fleet, 2_000_000, &format!("payment {}", done.payments))?;
                }
                done.payments += 1;
            }
            5 => {
                // In good order, but callers are there until the end.
                fleet.stop_one(number)?;
                fleet.up(number)?;
                done.stops += 1;
            }
            _ if done.kills < kills => {
                fleet.kill(number)?;
                thread::sleep(chance.pause(0, 300));
                fleet.up(number)?;
                done.kills += 1;
                // A server that has only begun to put things right is killed again.
                if done.kills < kills && chance.below(4) == 0 {
                    thread::sleep(chance.pause(0, 120));
                    fleet.kill(number)?;
                    fleet.up(number)?;
                    done.kills += 1;
                }
            }
            _ => {}
        }
    }
    Ok(done)
}
