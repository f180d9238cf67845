//! Verifying a proof: here, without a cluster, and without trusting one.

use zisk_protocol::PublicValues;
use zisk_recursion::builtin::built_in;

use crate::ClientError;
use crate::local::LocalError;

/// A program's verifying key: all that is needed to verify its proofs. It follows from the program alone.
///
/// # Errors
/// [`ClientError::Local`] when it is no program, or one that this release refuses.
pub fn key_of(elf: &[u8]) -> Result<Vec<u8>, ClientError> {
    Ok(built_in().setup(elf).map_err(LocalError::from)?.verifying_key)
}

/// Verifies a proof by its program's key; what the program wrote and ended with is returned.
///
/// # Errors
/// [`ClientError::Proof`] with what is wrong.
pub fn by_key(verifying_key: &[u8], proof: &[u8]) -> Result<PublicValues, ClientError> {
    built_in().verify(verifying_key, proof).map_err(|error| ClientError::Proof { reason: error.to_string() })
}

/// Verifies a proof of this program; what it wrote and ended with is returned.
///
/// # Errors
/// As [`key_of`] and [`by_key`].
pub fn proof_of(elf: &[u8], proof: &[u8]) -> Result<PublicValues, ClientError> {
    by_key(&key_of(elf)?, proof)
}
