//! The layers of the workspace, and which may depend on which.

/// One crate under `crates/`; a layer may depend on those of a lower level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    level: u8,
}

/// From the bottom up; equal levels are siblings, with no edge between them.
pub(crate) const LAYERS: [Layer; 7] = [
    Layer::new("primitives", 0),
    Layer::new("sync", 1),
    Layer::new("connection", 1),
    Layer::new("pool", 2),
    Layer::new("executor", 3),
    Layer::new("manager", 4),
    Layer::new("procession", 5),
];

/// What the tests of all layers share. No layer: nothing that a user gets may depend on it.
pub(crate) const TESTKIT: &str = "procession-testkit";

impl Layer {
    const fn new(name: &'static str, level: u8) -> Self {
        Self { name, level }
    }

    /// The layer of the crate `package`, if it is one of ours.
    pub(crate) fn of_crate(package: &str) -> Option<Self> {
        LAYERS
            .into_iter()
            .find(|layer| layer.crate_name() == package)
    }

    /// Its crate; the facade is `procession` itself.
    pub(crate) fn crate_name(self) -> String {
        match self.name {
            "procession" => "procession".to_owned(),
            name => format!("procession-{name}"),
        }
    }

    /// Whether an arrow from here to `other` points down (or stays here).
    pub(crate) fn may_use(self, other: Self) -> bool {
        self == other || other.level < self.level
    }
}
