//! What the state machine needs of the proof protocol.

/// Checks contributions and derives the challenge; a seam so that the state machine is tested with made-up contributions.
pub trait Protocol: Send + Sync {
    /// Checks the form of a contribution posted for segment `index`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_contribution(&self, index: u32, contribution: &[u8]) -> Result<(), String>;

    /// Derives the global challenge from the verifying key's digest, all contributions in index order and the
    /// public values, each in the prover's encoding.
    ///
    /// # Errors
    /// Why these inputs have no challenge.
    fn global_challenge(
        &self,
        verifying_key: &[u8],
        contributions: &[Vec<u8>],
        public_values: &[u8],
    ) -> Result<Vec<u8>, String>;
}
