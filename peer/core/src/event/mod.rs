//! What goes into the core and what comes out of it: the whole contract between the state machine and the world.
//!
//! [`Input`]s in, [`Output`]s out; an effect among the outputs is answered by the input that its variant names.

mod input;
mod notice;
mod output;

pub use input::{
    DialError, Expired, Input, LinkUp, LoadWhat, Loaded, Opened, RangeDetail, RangeQuery, RangeView, Rung,
    StoreFault, Submit, Verdict,
};
pub use notice::{Event, EvidenceKind};
pub use output::{Accepted, Class, Output, SubmitRefused, Verifiable, Wake};
