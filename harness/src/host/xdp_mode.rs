//! Conversion of attach modes to those of the kernel's interface.

use xdproof_netns::XdpMode;

use crate::model::mode::Mode;

/// Returns the mode to ask the kernel for; none where nothing is attached.
#[must_use]
pub fn to_kernel(mode: Mode) -> Option<XdpMode> {
    match mode {
        Mode::Generic => Some(XdpMode::Generic),
        Mode::Native => Some(XdpMode::Native),
        Mode::Offload => Some(XdpMode::Offload),
        Mode::Unattached => None,
    }
}
