//! All local states of the processes, and the transitions between them. Each transition is executed once, by the real
//! process, and cached: millions of global states consist of a few thousand local ones.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::bounds::{Bounds, Detail, PROCESSES};
use crate::face::Face;
use crate::local::{Deed, Life, Local};
use crate::names::Names;

pub(crate) struct Graph {
    bounds: Bounds,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    locals: HashMap<String, Arc<Local>>,
    deeds: HashMap<(usize, Deed), Option<Arc<Local>>>,
    names: Names,
}

impl Graph {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let known = RwLock::default();
        Self { bounds, known }
    }

    /// Returns the initial state of every process.
    pub(crate) fn begin(&self) -> Vec<Arc<Local>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let indices = 0..PROCESSES;
        let begin = |index| known.enter(&self.bounds, Life::new(&self.bounds, index), None);
        indices.map(begin).collect()
    }

    /// Returns the state after a deed; `None` if it changes nothing.
    pub(crate) fn after(&self, local: &Arc<Local>, deed: Deed) -> Option<Arc<Local>> {
        let key = (local.id, deed);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(after) = known.deeds.get(&key) {
            return after.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let life = local.life.after(deed, (&self.bounds, &known.names));
        let durable = (deed != Deed::Commit).then(|| Arc::clone(&local.durable));
        let after = life.map(|life| known.enter(&self.bounds, life, durable));
        known.deeds.insert(key, after.clone());
        after
    }

    /// Returns the number of local states and of transitions between them.
    pub(crate) fn size(&self) -> (usize, usize) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (known.locals.len(), known.deeds.len())
    }
}

impl Known {
    // `durable` is the face that the journal gives, if already known.
    fn enter(&mut self, bounds: &Bounds, life: Life, durable: Option<Arc<Face>>) -> Arc<Local> {
        let live = life.live(bounds, &mut self.names);
        let durable = durable.unwrap_or_else(|| Arc::new(life.durable(bounds, &mut self.names)));
        let marks = (life.is_refused, life.is_forgetful, life.is_durable());
        let key = match bounds.detail {
            Detail::All => format!("{} {marks:?} {}", life.index(), life.history()),
            Detail::Seen => format!("{} {marks:?} {live:?} {durable:?}", life.index()),
        };
        if let Some(found) = self.locals.get(&key) {
            return Arc::clone(found);
        }
        let local = Arc::new(Local {
            id: self.locals.len(),
            life,
            live,
            durable,
        });
        self.locals.insert(key, Arc::clone(&local));
        local
    }
}
