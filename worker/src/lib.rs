//! Pulls assignments, proves, folds when elected.
