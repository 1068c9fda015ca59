//! Which outputs of the core are effects, and which inputs answer them.

use sorcha_peer_core::event::{Input, Output};
use sorcha_peer_core::types::OpId;

/// The effect that an output is, where it is to be answered.
pub(crate) fn asks(output: &Output) -> Option<OpId> {
    match output {
        Output::Dial { op, .. }
        | Output::Seal { op, .. }
        | Output::SealRecord { op, .. }
        | Output::Verify { op, .. }
        | Output::Persist { op, .. }
        | Output::Recall { op, .. }
        | Output::Load { op, .. }
        | Output::Lookup { op, .. }
        | Output::Inspect { op, .. }
        | Output::Expire { op, .. } => Some(*op),
        _ => None,
    }
}

/// The effect that an input answers.
pub(crate) fn answered(input: &Input) -> Option<OpId> {
    match input {
        Input::LinkUp(up) => up.opened.op(),
        Input::DialFailed { op, .. }
        | Input::Sealed { op, .. }
        | Input::RecordSealed { op, .. }
        | Input::Recalled { op, .. }
        | Input::Verified { op, .. }
        | Input::Persisted { op, .. }
        | Input::PersistFailed { op, .. }
        | Input::Loaded { op, .. }
        | Input::LookedUp { op, .. }
        | Input::Inspected { op, .. }
        | Input::Expired { op, .. } => Some(*op),
        _ => None,
    }
}
