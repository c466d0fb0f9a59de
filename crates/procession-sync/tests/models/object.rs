//! Objects, modelled as far as a queue asks for them: without blocks.
#![allow(unsafe_code, reason = "has the functions of the shipped type")]

use std::any::Any;
use std::ptr::NonNull;
use std::rc::Rc;

use procession_primitives::BlockId;

use crate::primitive::{FAMILY, Family};

/// A handle of a state.
#[derive(Debug, Clone)]
pub(crate) struct Object(Rc<dyn Any>);

#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectId(());

impl ObjectId {
    pub(crate) fn number(self) -> u64 {
        1
    }
}

impl Object {
    pub(crate) fn new(state: impl Any) -> Object {
        Object(Rc::new(state))
    }

    pub(crate) fn id(&self) -> ObjectId {
        ObjectId(())
    }

    pub(crate) fn family(&self) -> Option<&'static Family> {
        Some(&FAMILY)
    }

    pub(crate) unsafe fn get<T: Any>(&self) -> &T {
        self.0.downcast_ref().expect("of that kind")
    }

    pub(crate) fn locate(&self, _: BlockId) -> Option<(u64, usize)> {
        None
    }

    pub(crate) fn adopt(&self, block: Block) -> BlockId {
        block.id()
    }

    pub(crate) fn part(&self, _: &'static Family, _: BlockId, _: bool) -> Option<Block> {
        None
    }

    pub(crate) unsafe fn free_part(&self, _: BlockId) {}
}

/// None is ever made.
#[derive(Debug)]
pub(crate) enum Block {}

impl Block {
    pub(crate) fn new(_: &'static Family, _: usize) -> Result<Block, ()> {
        Err(())
    }

    pub(crate) fn id(&self) -> BlockId {
        match *self {}
    }

    pub(crate) fn len(&self) -> usize {
        match *self {}
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) struct Arena(());

impl Family {
    pub(crate) fn arena(&self) -> Arena {
        Arena(())
    }
}

impl Arena {
    pub(crate) fn address(&self, _: u64, _: usize) -> Option<NonNull<u8>> {
        None
    }
}
