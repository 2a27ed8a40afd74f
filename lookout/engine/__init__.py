"""Engine: claims dirty slots, plans them, has jobs run and commits the outcomes. Knows no stage and no backend."""
