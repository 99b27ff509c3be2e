package kernel

// pause tells the processor that a thread waits for another.
func pause() { spinPause() }
