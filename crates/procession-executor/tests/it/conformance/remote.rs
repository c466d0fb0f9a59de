//! A back-end as that of many machines will be: tasks go as bytes to threads that know nothing of
//! futures, outcomes come back as bytes.

use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use procession_executor::raw::{Function, Items};
use procession_executor::{
    Backend, CancelAnswer, CancelMode, Completer, Executor, Handle, Hints, Rejected, Shutdown,
    Task, TaskError,
};

use crate::common::park;

/// The name of a function, as it crosses.
type Name = [[u64; 2]; 3];

/// What crosses to the agent.
struct Parcel {
    id: u64,
    function: Name,
    items: Vec<u8>,
    retries: u32,
}

/// What crosses back.
enum Reply {
    Started(u64),
    Item(u64, u32, Result<Vec<u8>, TaskError>),
    Finished(u64, Duration),
    /// The agent has ended.
    Over,
}

/// An executor over a [`Remote`], which it owns.
#[derive(Debug)]
pub(crate) struct RemoteExecutor {
    handle: Handle,
    remote: Arc<Remote>,
    threads: Vec<JoinHandle<()>>,
}

impl RemoteExecutor {
    pub(crate) fn new(workers: usize) -> RemoteExecutor {
        let agent = Arc::new(Agent::default());
        let (tell, told) = mpsc::channel();
        let remote = Arc::new(Remote {
            workers,
            agent: Arc::clone(&agent),
            pending: Mutex::default(),
            settled: Condvar::new(),
            told: Mutex::new(told),
            left: AtomicUsize::new(workers),
        });
        let runner = || {
            let (agent, tell) = (Arc::clone(&agent), tell.clone());
            thread::spawn(move || agent.run(&tell))
        };
        let mut threads: Vec<_> = (0..workers).map(|_| runner()).collect();
        drop(tell);
        let head = Arc::clone(&remote);
        threads.push(thread::spawn(move || head.listen()));
        let handle = Handle::new(Arc::<Remote>::clone(&remote));
        RemoteExecutor {
            handle,
            remote,
            threads,
        }
    }
}

impl Executor for RemoteExecutor {
    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for RemoteExecutor {
    fn drop(&mut self) {
        self.shutdown();
        self.remote.agent.lock().is_over = true;
        self.remote.agent.work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.thread().id() != thread::current().id() && !is_head() {
                thread.join().unwrap();
            }
        }
    }
}

/// Elsewhere: has its own queue, and knows functions by their names.
#[derive(Debug, Default)]
struct Agent {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    parcels: VecDeque<Parcel>,
    /// What the agent's executable has: the same functions.
    functions: HashMap<Name, Function>,
    is_over: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} parcels", self.parcels.len())
    }
}

impl Agent {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap()
    }

    /// A worker's life.
    fn run(&self, tell: &Sender<Reply>) {
        loop {
            let mut queue = self.lock();
            let parcel = loop {
                if let Some(parcel) = queue.parcels.pop_front() {
                    break parcel;
                }
                if queue.is_over {
                    let _ = tell.send(Reply::Over);
                    return;
                }
                queue = self.work.wait(queue).unwrap();
            };
            let function = queue.functions[&parcel.function];
            // Under the lock: who cancels it then finds it begun.
            let _ = tell.send(Reply::Started(parcel.id));
            drop(queue);
            let begun = Instant::now();
            let items = Items::from_bytes(&parcel.items).unwrap();
            for (number, item) in (0..).zip(items.iter()) {
                let mut outcome = function.call(item);
                for _ in 0..parcel.retries {
                    if matches!(outcome, Err(TaskError::Panicked(_))) {
                        outcome = function.call(item);
                    }
                }
                let bytes = outcome.map(|value| value.bytes().to_vec());
                let _ = tell.send(Reply::Item(parcel.id, number, bytes));
            }
            let _ = tell.send(Reply::Finished(parcel.id, begun.elapsed()));
        }
    }
}

thread_local! {
    static IS_HEAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread tells the completers: it must not wait for itself.
fn is_head() -> bool {
    IS_HEAD.get()
}

/// Here.
#[derive(Debug)]
struct Remote {
    workers: usize,
    agent: Arc<Agent>,
    pending: Mutex<Pending>,
    /// Nothing is pending.
    settled: Condvar,
    /// For the head alone.
    told: Mutex<Receiver<Reply>>,
    /// Workers that may still tell something.
    left: AtomicUsize,
}

#[derive(Debug, Default)]
struct Pending {
    completers: HashMap<u64, Arc<Completer>>,
    /// Those that were taken back, and are being told so.
    recalled: HashSet<u64>,
    /// Completers that have not been dropped.
    left: usize,
    is_closed: bool,
}

impl Remote {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap()
    }

    /// Tells completers of what comes back, until all that tell it have ended.
    fn listen(&self) {
        IS_HEAD.set(true);
        while self.left.load(Ordering::Relaxed) > 0 {
            let reply = self.told.lock().unwrap().recv().unwrap();
            self.tell(reply);
        }
    }

    fn tell(&self, reply: Reply) {
        let find = |id: u64| self.pending().completers.get(&id).cloned();
        match reply {
            Reply::Started(id) => {
                if let Some(completer) = find(id) {
                    completer.started();
                }
            }
            Reply::Item(id, number, outcome) => {
                if let Some(completer) = find(id) {
                    let outcome = outcome.as_ref().map(Vec::as_slice);
                    completer.item(number, outcome.map_err(Clone::clone));
                }
            }
            Reply::Finished(id, spent) => {
                if let Some(completer) = find(id) {
                    completer.finish(Some(spent));
                    self.forget(id, completer);
                }
            }
            Reply::Over => {
                self.left.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn forget(&self, id: u64, completer: Arc<Completer>) {
        let own = self.pending().completers.remove(&id);
        drop((own, completer));
        let mut pending = self.pending();
        pending.recalled.remove(&id);
        pending.left -= 1;
        if pending.left == 0 {
            self.settled.notify_all();
        }
    }

    /// Takes this task back.
    fn recall(&self, id: u64) -> CancelAnswer {
        let mut queue = self.agent.lock();
        let mut pending = self.pending();
        let Some(completer) = pending.completers.get(&id).cloned() else {
            return CancelAnswer::TooLate;
        };
        let Some(at) = queue.parcels.iter().position(|parcel| parcel.id == id) else {
            // Another thread may be about to tell.
            return match pending.recalled.contains(&id) {
                true => CancelAnswer::Asked,
                false => CancelAnswer::TooLate,
            };
        };
        queue.parcels.remove(at);
        pending.recalled.insert(id);
        drop((queue, pending));
        completer.fail(TaskError::Cancelled);
        self.forget(id, completer);
        CancelAnswer::Done
    }
}

impl Backend for Remote {
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
        let mut pending = self.pending();
        if pending.is_closed {
            let error = TaskError::Closed;
            return Err(Box::new(Rejected { task, error }));
        }
        let id = task.done.id();
        let parcel = Parcel {
            id,
            function: task.function.to_words(),
            items: task.items.bytes().to_vec(),
            retries: task.policy.retries,
        };
        pending.left += 1;
        pending.completers.insert(id, Arc::new(task.done));
        drop(pending);
        let mut queue = self.agent.lock();
        queue.functions.insert(parcel.function, task.function);
        queue.parcels.push_back(parcel);
        drop(queue);
        self.agent.work.notify_one();
        Ok(())
    }

    fn cancel(&self, task: &Completer, _: CancelMode) -> CancelAnswer {
        self.recall(task.id())
    }

    fn wait(
        &self,
        register: &mut dyn FnMut(Waker),
        deadline: Option<Instant>,
        done: &dyn Fn() -> bool,
    ) -> bool {
        if !is_head() {
            return park(register, deadline, done);
        }
        // A callback waits: nobody else tells the completers meanwhile.
        while !done() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let told = self.told.lock().unwrap();
            let reply = match left {
                None => told.recv().ok(),
                Some(left) => told.recv_timeout(left).ok(),
            };
            drop(told);
            match reply {
                Some(reply) => self.tell(reply),
                None => return done(),
            }
        }
        true
    }

    fn hints(&self) -> Hints {
        Hints::new(self.workers, Duration::from_micros(20))
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Instant>) -> bool {
        self.pending().is_closed = true;
        if how != Shutdown::Drain {
            let ids = |queue: &Queue| queue.parcels.iter().map(|parcel| parcel.id).collect();
            let queued: Vec<u64> = ids(&self.agent.lock());
            for id in queued {
                self.recall(id);
            }
        }
        let mut pending = self.pending();
        while pending.left > 0 {
            if is_head() {
                return false;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            pending = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => self.settled.wait_timeout(pending, left).unwrap().0,
                None => self.settled.wait(pending).unwrap(),
            };
        }
        true
    }
}
