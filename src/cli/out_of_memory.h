// What the program does where memory ends.
#pragma once

namespace infinipipe::cli {

// From now on the first failure to get memory frees some that was put aside, so that what unwinds
// and cleans up has enough, and is thrown as std::bad_alloc as ever. Where it cannot be thrown (out
// of a destructor, above all), temporary files are removed and the program ends with its line of
// error. Once, before there are threads.
void prepare_for_lack_of_memory();

// The error's line, for whoever catches std::bad_alloc.
void say_out_of_memory();

}  // namespace infinipipe::cli
