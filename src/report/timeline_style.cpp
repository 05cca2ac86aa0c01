#include "report/timeline_page.h"

namespace infinipipe {

const char* const kTimelineStyle = R"css(
:root {
  --bg: #f6f7f9; --card: #ffffff; --line: #dde1e7; --text: #1b2330; --soft: #667085;
  --idle: #eef0f4; --accent: #2563eb; --over: #d92d20;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12161d; --card: #1b212b; --line: #323b49; --text: #e6eaf0; --soft: #93a0b4;
    --idle: #252c38; --accent: #6ea8fe; --over: #ff6b5e;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--bg); color: var(--text);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
main { max-width: 1900px; margin: 0 auto; padding: 18px 22px 40px; }
h1 { font-size: 19px; margin: 0 0 2px; font-weight: 650; }
h2 { font-size: 14px; margin: 0; font-weight: 650; }
.sub { color: var(--soft); margin: 0 0 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 10px; }
.card, .panel {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
.card { padding: 9px 12px; }
.card .name { color: var(--soft); font-size: 12px; }
.card .value { font-size: 19px; font-weight: 620; font-variant-numeric: tabular-nums; }
.card .note { color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.panel { margin-top: 12px; padding: 10px 12px 12px; }
.head {
  display: flex; flex-wrap: wrap; align-items: center; gap: 6px 18px; margin-bottom: 6px;
}
.grow { flex: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; color: var(--soft); font-size: 12px; }
.legend span { display: inline-flex; align-items: center; gap: 5px; }
.legend i { width: 13px; height: 13px; border-radius: 3px; display: inline-block; }
.tools {
  position: sticky; top: 0; z-index: 5; margin-top: 12px; padding: 7px 12px;
  display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
button, select {
  font: inherit; font-size: 13px; color: var(--text); background: var(--bg);
  border: 1px solid var(--line); border-radius: 6px; padding: 2px 9px; cursor: pointer;
}
button:hover, select:hover { border-color: var(--accent); }
label { font-size: 13px; display: inline-flex; gap: 5px; align-items: center; }
kbd {
  font: 11px ui-monospace, monospace; border: 1px solid var(--line); border-radius: 4px;
  padding: 0 4px; background: var(--bg);
}
.hint { color: var(--soft); font-size: 12px; }
.plot { position: relative; }
.plot canvas { display: block; width: 100%; }
.plot canvas + canvas { position: absolute; left: 0; top: 0; }
.plot.time canvas + canvas { cursor: crosshair; touch-action: pan-y; }
#tip {
  position: fixed; z-index: 10; pointer-events: none; display: none; max-width: 380px;
  background: var(--card); border: 1px solid var(--line); border-radius: 7px;
  box-shadow: 0 6px 22px rgba(0, 0, 0, .22); padding: 8px 11px; font-size: 12.5px;
}
#tip b { font-size: 13.5px; }
#tip table { border-collapse: collapse; margin-top: 3px; }
#tip td { padding: 0 10px 0 0; font-variant-numeric: tabular-nums; vertical-align: top; }
#tip td:first-child { color: var(--soft); }
.split { display: grid; gap: 12px; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 1100px) {
  .split.two { grid-template-columns: minmax(380px, 1fr) minmax(0, 2fr); }
}
.scroll { max-height: 460px; overflow: auto; }
table.stages { border-collapse: collapse; width: 100%; font-size: 13px; }
table.stages th, table.stages td {
  text-align: right; padding: 3px 7px; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap;
}
table.stages th { color: var(--soft); font-weight: 500; position: sticky; top: 0;
  background: var(--card); }
table.stages .bar { width: 24%; min-width: 70px; }
.meter { display: flex; height: 9px; border-radius: 3px; overflow: hidden;
  background: var(--idle); }
.meter i { display: block; height: 100%; }
.over { color: var(--over); font-weight: 600; }
)css";

}  // namespace infinipipe
