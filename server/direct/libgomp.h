// From the libgomp that LibTorch and oneDNN use: the same team runs all. Its own header comes with
// g++ only, and so does the pragma that would do the same.
#pragma once

extern "C" {
// NOLINTBEGIN(readability-identifier-naming): their names there.
// `threads` of 0: as many as the calling thread's team has.
void GOMP_parallel(void (*run)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num();
int omp_get_num_threads();
void omp_set_num_threads(int threads);  // Of the calling thread's team.
int omp_pause_resource_all(int kind);
// NOLINTEND(readability-identifier-naming)
}
