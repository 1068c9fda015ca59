//! Links: sessions over whatever transport carries them. Knows frames' numbers, not what they say.

pub(crate) mod budget;
pub(crate) mod rtt;
pub(crate) mod session;
pub(crate) mod table;
