//! A TCP proxy before nats-server, one for each client whose network is to fail.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Bytes read at once: a delayed or throttled link passes them in one piece.
const CHUNK: usize = 16 << 10;
/// Chunks under way in one direction; what a socket's buffers would hold.
const IN_FLIGHT: usize = 256;

/// What the link does to bytes, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Passes them at once.
    Clear,
    /// Passes them late, and so many a second.
    Slow {
        /// Each byte's delay.
        delay: Duration,
        /// Throughput in each direction.
        bytes_per_second: u64,
    },
    /// Keeps connections open, takes new ones, and passes nothing.
    Silent,
    /// Closes connections, and new ones at once.
    Down,
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    cuts: watch::Sender<u64>,
    connections: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to this port of this machine.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (link, link_seen) = watch::channel(Link::Clear);
        let (cuts, cuts_seen) = watch::channel(0);
        let (count, connections) = watch::channel(0);
        let task = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut open = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                count.send_modify(|count| *count += 1);
                while open.try_join_next().is_some() {}
                open.spawn(connection(client, target, link_seen.clone(), cuts_seen.clone()));
            }
        });
        Ok(Self { address, link, cuts, connections, task })
    }

    /// Where its client connects.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Changes the link, of open connections too.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Closes all connections; new ones are served.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, mut link: watch::Receiver<Link>, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let seen = link.clone();
    let pumps = async {
        if link.wait_for(|link| *link != Link::Silent).await.is_err() {
            return;
        }
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        // Either end of a connection that closes takes the other with it.
        tokio::select! {
            () = pump(from_client, to_server, seen.clone()) => {}
            () = pump(from_server, to_client, seen.clone()) => {}
        }
    };
    let mut down = seen.clone();
    tokio::select! {
        () = pumps => {}
        _ = down.wait_for(|link| *link == Link::Down) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut link: watch::Receiver<Link>) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((read_at, chunk)) = chunks.recv().await {
            let Ok(now) = link.wait_for(|link| *link != Link::Silent).await.map(|link| *link) else { return };
            if let Link::Slow { delay, bytes_per_second } = now {
                tokio::time::sleep_until(read_at + delay).await;
                tokio::time::sleep(Duration::from_secs_f64(chunk.len() as f64 / bytes_per_second.max(1) as f64)).await;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(150);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn there_and_back(stream: &mut TcpStream) -> std::io::Result<Duration> {
        let began = Instant::now();
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"ping");
        Ok(began.elapsed())
    }

    #[tokio::test]
    async fn a_link_is_slow_silent_or_down_as_told() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        there_and_back(&mut stream).await.unwrap();
        proxy.set(Link::Slow { delay: SHORT, bytes_per_second: 1 << 20 });
        assert!(there_and_back(&mut stream).await.unwrap() >= SHORT * 2);

        proxy.set(Link::Silent);
        assert!(tokio::time::timeout(SHORT, there_and_back(&mut stream)).await.is_err());
        proxy.set(Link::Clear);
        // What was silenced arrives after all.
        let mut late = [0; 4];
        stream.read_exact(&mut late).await.unwrap();

        proxy.cut();
        assert!(stream.read_exact(&mut late).await.is_err());
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        there_and_back(&mut stream).await.unwrap();
        proxy.set(Link::Down);
        assert!(stream.read_exact(&mut late).await.is_err());
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert!(refused.read_exact(&mut late).await.is_err());
        proxy.set(Link::Clear);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        there_and_back(&mut stream).await.unwrap();
        assert_eq!(proxy.connections(), 4);
    }
}
