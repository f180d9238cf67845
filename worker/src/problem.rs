//! Why a piece of work did not succeed, and whose fault that is.

use zisk_common::bus::BusError;
use zisk_common::messages::FailureKind;
use zisk_common::objects::ObjectError;
use zisk_prover::backend::BackendError;

/// What stopped a piece of work.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The prover refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The bus or the object store failed, after retries.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// An object is not there, or damaged, or the store failed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An object is not there, or damaged, and could not be made again.
    #[error("{damage}; it could not be made again: {again}")]
    Lost {
        /// What is wrong with it.
        damage: Box<ObjectError>,
        /// What stood in the way.
        again: Box<Problem>,
    },
    /// The job ended, or this worker leaves: nothing to report.
    #[error("no longer wanted")]
    Unwanted,
    /// A message holds something this worker cannot use.
    #[error("{0}")]
    Message(String),
}

impl Problem {
    /// Whose fault it is; `None` when there is nothing to report.
    pub fn kind(&self) -> Option<FailureKind> {
        match self {
            Self::Unwanted | Self::Backend(BackendError::Stopped) => None,
            Self::Backend(BackendError::Program(_)) => Some(FailureKind::Input),
            Self::Backend(BackendError::Trap(_)) => Some(FailureKind::Execution),
            Self::Object(ObjectError::Full { .. }) => Some(FailureKind::Storage),
            Self::Lost { again, .. } => again.kind().map(|kind| match kind {
                FailureKind::Storage => kind,
                _ => FailureKind::Internal,
            }),
            Self::Backend(BackendError::Malformed { .. } | BackendError::Rejected(_) | BackendError::Internal(_))
            | Self::Bus(_)
            | Self::Object(_)
            | Self::Message(_) => Some(FailureKind::Internal),
        }
    }

    /// Whether it may lie in this worker: in its object store, or in its prover.
    pub fn may_be_the_workers(&self) -> bool {
        match self {
            // A full store works; what ends is the job that finds no room in it.
            Self::Object(ObjectError::Full { .. }) => false,
            Self::Lost { again, .. } => again.may_be_the_workers(),
            Self::Backend(BackendError::Malformed { .. } | BackendError::Rejected(_) | BackendError::Internal(_))
            | Self::Object(_) => true,
            Self::Backend(BackendError::Program(_) | BackendError::Trap(_) | BackendError::Stopped)
            | Self::Bus(_)
            | Self::Unwanted
            | Self::Message(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_faults_are_not_the_clusters() {
        let kind = |error: BackendError| Problem::from(error).kind();
        assert_eq!(kind(BackendError::Program("x".into())), Some(FailureKind::Input));
        assert_eq!(kind(BackendError::Trap("x".into())), Some(FailureKind::Execution));
        assert_eq!(kind(BackendError::Internal("x".into())), Some(FailureKind::Internal));
        assert_eq!(kind(BackendError::Stopped), None);
    }
}
