//! The machine, its kernel and the program under test: without them, figures of a result mean nothing to others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine, its kernel and the program under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of xdproof.
    pub xdproof: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// The kernel's build, as `uname -v` prints it.
    pub kernel_version: String,
    /// The architecture that this binary was built for.
    pub architecture: String,
    /// The processor's model, where the kernel names it.
    pub cpu_model: Option<String>,
    /// Processors that this process may run on.
    pub cpus_available: usize,
    /// `net.core.bpf_jit_enable`: 0 off, 1 on, 2 debugging.
    pub bpf_jit: Option<u8>,
    /// The program under test.
    pub program: ProgramIdentity,
}

/// The program under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramIdentity {
    /// The object's file; none: the built-in object.
    pub object: Option<String>,
    /// The program's name in the kernel.
    pub name: String,
    /// The hash of its instructions in hexadecimal, as `bpftool prog` prints it.
    pub tag: String,
    /// The map that its counters were read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_map: Option<String>,
    /// Sentences about what its own loader does otherwise, or leaves to user space.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
