//! Test support: real nats-server and real processes on free ports; the cluster's stories.
