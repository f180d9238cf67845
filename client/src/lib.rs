//! Host SDK and the zisk command line.
