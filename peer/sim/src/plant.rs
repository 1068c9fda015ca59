//! Faults planted by hand between the shipping core and the simulated world, to see the checker catch each.
//!
//! A plant alters, drops or repeats a value on its way between core, disk and application, as a fault in the driver, the
//! store or the core would. The shipping program links nothing of this. [`Plant::properties`] says what is to catch it.

use clap::ValueEnum;
use serde::Serialize;
use sorcha_peer_core::event::{Input, Output, RangeDetail, Verdict};
use sorcha_peer_core::message::Message;

use crate::check::Property;

/// Faults that the checker must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plant {
    /// The store answers before it has written
    AnswerBeforeDurable,
    /// The store answers without a sync; a crash takes back what was written last
    OmittedSync,
    /// A failed write is taken for a success
    FailureTakenForSuccess,
    /// The answer of a write that failed is lost
    SwallowedPersistFailed,
    /// The answers of some reads are lost
    SwallowedLoads,
    /// Signatures are not checked
    VerifySkipped,
    /// A body is altered between its check and the disk
    BodyAltered,
    /// Reconciliation does not see the last id of a range
    LastIdIgnored,
    /// What was missed is not asked for again: no reconciliation
    LostRetry,
    /// The outbox asks nobody, and no round of reconciliation speaks for it
    OutboxNeverAsks,
    /// Others are told that everything they ask about is held
    HoldsUnread,
    /// Idempotency keys are forgotten at a restart
    KeysForgotten,
    /// A restart begins again with the same incarnation
    SequenceReused,
    /// A transaction that is written twice is delivered twice
    DeliveredTwice,
    /// A subscriber's cursor moves before the subscriber has the transaction
    CursorAhead,
    /// Transactions are delivered in another order than they arrived in
    Reordered,
    /// The core never hears of links that end
    SwallowedLinkDown,
    /// The word that a peer leaves is lost on its way
    LeaverRevived,
    /// The driver reads its clock before it waits, and tells the core a time that has passed
    StaleClock,
    /// A drain says that it is done at once
    DrainDoneAtOnce,
}

/// All of them, in their order.
pub const PLANTS: [Plant; 20] = [
    Plant::AnswerBeforeDurable,
    Plant::OmittedSync,
    Plant::FailureTakenForSuccess,
    Plant::SwallowedPersistFailed,
    Plant::SwallowedLoads,
    Plant::VerifySkipped,
    Plant::BodyAltered,
    Plant::LastIdIgnored,
    Plant::LostRetry,
    Plant::OutboxNeverAsks,
    Plant::HoldsUnread,
    Plant::KeysForgotten,
    Plant::SequenceReused,
    Plant::DeliveredTwice,
    Plant::CursorAhead,
    Plant::Reordered,
    Plant::SwallowedLinkDown,
    Plant::LeaverRevived,
    Plant::StaleClock,
    Plant::DrainDoneAtOnce,
];

/// One in so many answers is lost.
const LOST_EVERY: u64 = 7;

impl Plant {
    /// Its word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnswerBeforeDurable => "answer-before-durable",
            Self::OmittedSync => "omitted-sync",
            Self::FailureTakenForSuccess => "failure-taken-for-success",
            Self::SwallowedPersistFailed => "swallowed-persist-failed",
            Self::SwallowedLoads => "swallowed-loads",
            Self::VerifySkipped => "verify-skipped",
            Self::BodyAltered => "body-altered",
            Self::LastIdIgnored => "last-id-ignored",
            Self::LostRetry => "lost-retry",
            Self::OutboxNeverAsks => "outbox-never-asks",
            Self::HoldsUnread => "holds-unread",
            Self::KeysForgotten => "keys-forgotten",
            Self::SequenceReused => "sequence-reused",
            Self::DeliveredTwice => "delivered-twice",
            Self::CursorAhead => "cursor-ahead",
            Self::Reordered => "reordered",
            Self::SwallowedLinkDown => "swallowed-link-down",
            Self::LeaverRevived => "leaver-revived",
            Self::StaleClock => "stale-clock",
            Self::DrainDoneAtOnce => "drain-done-at-once",
        }
    }

    /// The properties of which one is to catch it.
    pub fn properties(self) -> &'static [Property] {
        match self {
            Self::AnswerBeforeDurable | Self::FailureTakenForSuccess | Self::HoldsUnread => {
                &[Property::AcknowledgedIsDurable, Property::AnnouncedIsDurable, Property::HeldIsDurable]
            }
            Self::OmittedSync => &[Property::SurvivesCrash],
            Self::SwallowedPersistFailed => &[Property::EffectsAnswered, Property::AnsweredOnce],
            Self::SwallowedLoads | Self::SwallowedLinkDown => &[Property::EffectsAnswered, Property::Bounded],
            Self::VerifySkipped | Self::BodyAltered => &[Property::NothingForgedStored],
            Self::LastIdIgnored | Self::LostRetry => &[Property::NothingLost, Property::StoresEqual],
            Self::OutboxNeverAsks => &[Property::OutboxEmpties],
            Self::KeysForgotten => &[Property::OneKeyOneId],
            Self::SequenceReused => &[Property::OneSequenceOneId],
            Self::DeliveredTwice => &[Property::DeliveredOnce],
            Self::CursorAhead | Self::Reordered => &[Property::DeliveredOnce, Property::DeliveredInOrder],
            Self::LeaverRevived => &[Property::LeaverForgotten],
            Self::StaleClock => &[Property::NoWakeLoop],
            Self::DrainDoneAtOnce => &[Property::DrainedIsElsewhere],
        }
    }

    /// An answer on its way to the core; `None`: it is lost.
    pub(crate) fn input(self, input: Input) -> Option<Input> {
        Some(match (self, input) {
            (Self::FailureTakenForSuccess, Input::PersistFailed { op, .. }) => Input::Persisted { op },
            (Self::SwallowedPersistFailed, Input::PersistFailed { .. })
            | (Self::SwallowedLinkDown, Input::LinkDown { .. }) => return None,
            (Self::SwallowedLoads, Input::Loaded { op, .. }) if op.0 % LOST_EVERY == 0 => return None,
            (Self::VerifySkipped, Input::Verified { op, .. }) => {
                Input::Verified { op, verdict: Verdict::Valid }
            }
            (Self::HoldsUnread, Input::LookedUp { op, held }) => {
                Input::LookedUp { op, held: vec![true; held.len()] }
            }
            (Self::LastIdIgnored, Input::Inspected { op, mut views }) => {
                for view in &mut views {
                    if let RangeDetail::Ids(ids) = &mut view.detail {
                        ids.pop();
                    }
                }
                Input::Inspected { op, views }
            }
            (Self::LeaverRevived, Input::Frame { link, mut frame, bytes }) => {
                if let Message::Records { records, .. } = &mut frame.message {
                    records.retain(|record| !record.record.leaving);
                }
                Input::Frame { link, frame, bytes }
            }
            (_, input) => input,
        })
    }

    /// A wish on its way from the core; `None`: it is not heard.
    pub(crate) fn output(self, mut output: Output) -> Option<Output> {
        if let Output::Send { frame, .. } = &mut output {
            match (self, &mut frame.message) {
                (Self::LostRetry, Message::Sync(_))
                | (Self::OutboxNeverAsks, Message::HoldsRequest { .. }) => {
                    return None;
                }
                (Self::OutboxNeverAsks, Message::Sync(sync)) => sync.partial = true,
                _ => {}
            }
        }
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_words_are_those_of_the_command_line() {
        assert_eq!(PLANTS.as_slice(), Plant::value_variants());
        for plant in PLANTS {
            let word = plant.to_possible_value().expect("every plant has a word");
            assert_eq!(word.get_name(), plant.as_str());
        }
    }
}
