// Declarations of our own; see the README beside this folder.
#pragma once

#include <gloo/context.h>
