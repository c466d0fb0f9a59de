//! What the bench of a layer and the comparison both measure. A workload is something that does as
//! many rounds as it is told to and says how long they took.

pub(crate) mod bulk;
pub(crate) mod lock;
pub(crate) mod partner;
pub(crate) mod queue;
