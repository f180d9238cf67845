//! What every guest here shares: console output and the panic handler. Everything else is `ziskos`, as published.
#![no_std]

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// Exit code of a guest that panicked, the one Rust programs have elsewhere.
pub const PANICKED: i32 = 101;

/// The console (UART) of the machine.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        ziskos::ziskos::sys_write(1, text.as_ptr(), text.len());
        Ok(())
    }
}

/// Ends the guest at once with `code`, from any depth.
pub fn exit(code: i32) -> ! {
    // SAFETY: environment call 93 ends the program; nothing of it runs afterwards.
    unsafe { asm!("ecall", in("a7") 93, in("a0") code, options(noreturn, nostack)) }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    // The console cannot fail.
    let _ = writeln!(Console, "{info}");
    exit(PANICKED)
}
