//! A machine whose cores have other things to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// All cores busy, until this is dropped.
#[derive(Debug)]
pub struct BusyCores(Arc<AtomicBool>);

impl BusyCores {
    /// Starts so many threads for each core, which do nothing else.
    pub fn start(threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores * threads {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for BusyCores {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
