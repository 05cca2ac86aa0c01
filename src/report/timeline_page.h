// The parts of the timeline page that do not depend on the step.
#pragma once

namespace infinipipe {

extern const char* const kTimelineStyle;   // CSS
extern const char* const kTimelineBody;    // HTML
extern const char* const kTimelineScript;  // JavaScript; reads the object DATA

}  // namespace infinipipe
