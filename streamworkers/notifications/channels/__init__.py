"""The ways on which a message can leave: one module for each, behind one interface."""
