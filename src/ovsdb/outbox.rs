//! What the connection's thread has for the control thread.
//!
//! What always holds: the queue is bounded (changes of rows are merged while they wait, and whoever
//! fills it waits at [`Outbox::has_room`]); the lock is held for a few moves only, and what is large is
//! given back to the connection's thread to be freed there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::client::Event;
use super::replica::{Changes, Replica, Row};
use super::schema::Table;
use super::value::Uuid;
use crate::limits::{OVSDB_DELTA_ROWS_MAX, OVSDB_EVENTS_MAX};

/// Rows by table and name as they are now, `None` for those gone.
pub type Delta = BTreeMap<(Table, Uuid), Option<Arc<Row>>>;

/// How the control thread's replica becomes what the connection's is.
#[derive(Debug)]
pub enum Step {
    /// By putting these rows in.
    Rows(Delta),
    /// By taking this one.
    Whole(Box<Replica>),
}

/// An event and, if it is about rows, the rows.
#[derive(Debug)]
pub struct Item {
    /// What the user is told.
    pub event: Event,
    /// Goes with [`Event::Updated`].
    pub step: Option<Step>,
    /// Can transactions be sent from here on?
    pub is_writable: bool,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    /// Replicas to be freed.
    trash: Vec<Replica>,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    /// Something came in.
    filled: Notify,
    /// Something was taken out.
    drained: Notify,
}

impl Outbox {
    /// Takes the oldest item, when there is one. Loses nothing when dropped.
    pub async fn pop(&self) -> Item {
        loop {
            let item = self.inner().items.pop_front();
            if let Some(item) = item {
                self.drained.notify_one();
                return item;
            }
            self.filled.notified().await;
        }
    }

    /// Takes what shall be freed elsewhere.
    pub fn give_back(&self, replica: Replica) {
        self.inner().trash.push(replica);
        self.drained.notify_one();
    }

    /// Adds an event that is not about rows.
    pub fn push(&self, event: Event, is_writable: bool) {
        self.inner().items.push_back(Item { event, step: None, is_writable });
        self.filled.notify_one();
    }

    /// Adds changes that led to `replica`; `all` to hand it over whole.
    pub fn push_changes(&self, changes: Changes, all: bool, replica: &Replica, is_writable: bool) {
        // What still waits is merged with what is new, without holding the lock meanwhile.
        let waiting = {
            let mut inner = self.inner();
            match inner.items.back() {
                Some(Item { event: Event::Updated(_), .. }) => inner.items.pop_back(),
                _ => None,
            }
        };
        let (mut merged, step) = match waiting {
            Some(Item { event: Event::Updated(earlier), step: Some(step), .. }) => (earlier, step),
            _ => (Changes::default(), Step::Rows(Delta::new())),
        };
        let rows = changes
            .touched
            .keys()
            .map(|&(table, uuid)| ((table, uuid), replica.table(table).get(&uuid).cloned()));
        let step = match step {
            _ if all => Step::Whole(Box::new(replica.clone())),
            Step::Whole(mut waiting) => {
                waiting.put(rows);
                Step::Whole(waiting)
            }
            Step::Rows(delta) if delta.len() + changes.touched.len() > OVSDB_DELTA_ROWS_MAX => {
                drop(delta);
                Step::Whole(Box::new(replica.clone()))
            }
            Step::Rows(mut delta) => {
                delta.extend(rows);
                Step::Rows(delta)
            }
        };
        merged.append(changes);
        let item = Item { event: Event::Updated(merged), step: Some(step), is_writable };
        self.inner().items.push_back(item);
        self.filled.notify_one();
    }

    /// Waits until there is room for more; frees what was given back.
    pub async fn has_room(&self) {
        loop {
            let (trash, has_room) = {
                let mut inner = self.inner();
                (std::mem::take(&mut inner.trash), inner.items.len() < OVSDB_EVENTS_MAX)
            };
            drop(trash);
            if has_room {
                return;
            }
            self.drained.notified().await;
        }
    }

    /// Waits for something to free.
    pub async fn drained(&self) {
        self.drained.notified().await;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovsdb::replica::Change;
    use crate::ovsdb::schema::tests::small_schema;

    fn uuid(n: u32) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Uuid(bytes)
    }

    fn insert(replica: &mut Replica, rows: std::ops::Range<u32>) -> Changes {
        let mut changes = Changes::default();
        for n in rows {
            let row = Arc::new(Row::new(Table::Port, uuid(n)));
            replica.put([((Table::Port, uuid(n)), Some(row))]);
            changes.add(Table::Port, uuid(n), Change::Inserted);
        }
        changes
    }

    fn remove(replica: &mut Replica, n: u32) -> Changes {
        replica.put([((Table::Port, uuid(n)), None)]);
        let mut changes = Changes::default();
        changes.add(Table::Port, uuid(n), Change::Deleted);
        changes
    }

    async fn take(outbox: &Outbox, replica: &mut Replica) -> (usize, bool) {
        let Item { event: Event::Updated(changes), step, .. } = outbox.pop().await else {
            panic!("changes")
        };
        match step.expect("rows") {
            Step::Rows(rows) => {
                replica.put(rows);
                (changes.touched.len(), false)
            }
            Step::Whole(whole) => {
                *replica = *whole;
                (changes.touched.len(), true)
            }
        }
    }

    fn same(a: &Replica, b: &Replica) -> bool {
        Table::ALL.into_iter().all(|table| a.table(table) == b.table(table))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn changes_are_merged_while_they_wait() {
        let outbox = Outbox::default();
        let mut theirs = Replica::new(Arc::new(small_schema()));
        let mut ours = theirs.clone();
        let changes = insert(&mut theirs, 0..10);
        outbox.push_changes(changes, false, &theirs, true);
        let changes = insert(&mut theirs, 10..12);
        outbox.push_changes(changes, false, &theirs, true);
        let changes = remove(&mut theirs, 3);
        outbox.push_changes(changes, false, &theirs, true);
        assert_eq!(take(&outbox, &mut ours).await, (11, false));
        assert!(same(&ours, &theirs));
        // An event between them keeps its place.
        let changes = remove(&mut theirs, 4);
        outbox.push_changes(changes, false, &theirs, true);
        outbox.push(Event::Disconnected, false);
        let changes = remove(&mut theirs, 5);
        outbox.push_changes(changes, false, &theirs, true);
        assert_eq!(take(&outbox, &mut ours).await, (1, false));
        assert!(ours.row(Table::Port, &uuid(5)).is_some());
        assert_eq!(outbox.pop().await.event, Event::Disconnected);
        assert_eq!(take(&outbox, &mut ours).await, (1, false));
        assert!(same(&ours, &theirs));
        // Many rows come as a whole replica, and what comes later goes into it.
        let many = u32::try_from(OVSDB_DELTA_ROWS_MAX).expect("few") + 1;
        let changes = insert(&mut theirs, 100..100 + many);
        outbox.push_changes(changes, false, &theirs, true);
        let changes = remove(&mut theirs, 100);
        outbox.push_changes(changes, false, &theirs, true);
        let before = ours.clone();
        assert_eq!(take(&outbox, &mut ours).await, (OVSDB_DELTA_ROWS_MAX, true));
        assert!(same(&ours, &theirs) && !same(&before, &ours));
        outbox.give_back(before);
        outbox.has_room().await;
        assert!(outbox.inner().trash.is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_fills_it_waits() {
        let outbox = Arc::new(Outbox::default());
        for _ in 0..OVSDB_EVENTS_MAX {
            outbox.push(Event::Connected, true);
        }
        let filler = outbox.clone();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                let waiting = tokio::task::spawn_local(async move { filler.has_room().await });
                tokio::task::yield_now().await;
                assert!(!waiting.is_finished());
                outbox.pop().await;
                waiting.await.expect("room");
            })
            .await;
    }
}
