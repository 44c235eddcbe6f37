//! The one system call that no library here wraps: `adjtimex`. All unsafe code of the crate.

/// Whether something (NTP, PTP, a hypervisor) keeps the kernel's clock right. `None` if the kernel does not say.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "adjtimex exists only as a C function, and no dependency of ours wraps it")]
pub(super) fn is_clock_synchronised() -> Option<bool> {
    // SAFETY: all-zero is a valid value of this C structure of integers, and `modes` 0 asks without changing anything.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a valid structure of ours, which outlives the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0)
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_clock_synchronised() -> Option<bool> {
    None
}
