#include "report/timeline_page.h"

namespace infinipipe {

const char* const kTimelineBody = R"html(
<main>
<h1 id="title"></h1>
<p class="sub" id="subtitle"></p>
<div class="cards" id="cards"></div>
<div class="tools">
  <button id="all" title="the whole step">Whole step</button>
  <button id="in" title="zoom in">+</button><button id="out" title="zoom out">&minus;</button>
  <label id="replicaBox" hidden>replica <select id="replica"></select></label>
  <label><input type="checkbox" id="links"> messages</label>
  <span class="legend" id="legend"></span>
  <span class="grow"></span>
  <span class="hint">drag to pan, <kbd>shift</kbd>+drag to select, <kbd>ctrl</kbd>+wheel or
  <kbd>W</kbd><kbd>S</kbd> to zoom, <kbd>A</kbd><kbd>D</kbd> to move, double click for all</span>
</div>
<div id="timelines"></div>
<div id="memories"></div>
<div class="split" id="bottom">
  <div class="panel" id="scatterPanel" hidden>
    <div class="head"><h2>Each instruction: predicted against measured</h2></div>
    <p class="hint" id="scatterText"></p>
    <div class="plot"><canvas id="scatter"></canvas><canvas id="scatterTop"></canvas></div>
  </div>
  <div class="panel"><div class="head"><h2>Stages</h2></div>
    <div class="scroll"><table class="stages" id="stages"></table></div></div>
</div>
<div id="tip"></div>
<noscript>This page draws with JavaScript.</noscript>
</main>
)html";

// DATA: {title, subtitle, limit, bound, tokens, layers: [[begin, end]..], overhead,
//  levels: [what layers of a level of keeping run again, ""  for whole layers..],
//  replicas: [{chunks: [[pipeline, chunk, kind, tokens, context, slices, cut sequence or -1,
//              its length, [recompute..], [[layers of a level, by stage..], by level..],
//              devices of each sub-group, 0: the whole group]..]}],
//  traces: [{name, seconds, replicas: [{stages: [{events: [[op, chunk, begin, length, recompute,
//            how long it was ready before]..], memory: [[at, states, activations, kv, kv_grad,
//            workspace, transfers]..], links: [[to, op, chunk, begin, length, bytes]..]}]}]}]}
// Times in seconds; op 0..3 = F, B, I, W; kind 0..2 = split, hybrid, batched.
const char* const kTimelineScript = R"js(
'use strict';
const OPS = 'FBIW', OP_NAMES = ['forward', 'backward', 'input gradient', 'weight gradient'];
const KINDS = ['split', 'hybrid', 'batched'];
// Per kind: forward, backward, input gradient, weight gradient.
const COLOURS = [
  ['#8db8f2', '#3b7ddd', '#5b95e6', '#b3c9ea'],
  ['#c5a3ec', '#8b57cf', '#a175dc', '#d6c6ec'],
  ['#8fd6b4', '#2e9e6f', '#56b98d', '#bfe0d1']];
const PURPOSES = ['model states', 'activations', 'K, V kept', 'dK, dV', 'workspace', 'messages'];
const PURPOSE_COLOURS = ['#98a2b3', '#3b7ddd', '#2e9e6f', '#e08a1e', '#c2457f', '#7a5af8'];
const $ = id => document.getElementById(id);
const LEFT = 62, RIGHT = 14, AXIS = 22;
const RGB = COLOURS.map(list => list.map(c => [1, 3, 5].map(i => parseInt(c.slice(i, i + 2), 16))));
let replica = 0, showLinks = false;
const span = Math.max(...DATA.traces.map(t => t.seconds), 1e-12);
let view = [0, span];
const stageCount = DATA.layers.length;
const plots = [];

function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
function seconds(s) {
  const a = Math.abs(s);
  if (a >= 100) return s.toFixed(1) + ' s';
  if (a >= 1) return s.toFixed(3) + ' s';
  if (a >= 1e-3) return (s * 1e3).toFixed(2) + ' ms';
  return (s * 1e6).toFixed(1) + ' \u00b5s';
}
function bytes(b) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let u = 0;
  while (Math.abs(b) >= 1024 && u < 5) { b /= 1024; u++; }
  return (u ? b.toFixed(b >= 100 ? 1 : 2) : b.toFixed(0)) + ' ' + units[u];
}
function percent(x) { return (100 * x).toFixed(1) + '%'; }
function count(n) { return Math.round(n).toLocaleString('en-US'); }
function chunkOf(c) { return DATA.replicas[replica].chunks[c]; }
function nameOf(op, c) { const k = chunkOf(c); return OPS[op] + k[0] + '.' + k[1]; }
function stageData(trace, p) {
  const r = trace.replicas[replica];
  return r && r.stages[p] || {events: [], memory: [], links: []};
}
function escape(text) {
  return String(text).replace(/[&<>"]/g, c => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'}[c]));
}

// --- canvases -------------------------------------------------------------------------------
function fit(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.parentElement.clientWidth;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = height + 'px';
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = '11px system-ui, "DejaVu Sans", sans-serif';
  return [g, width];
}
function scaleX(width) {
  const k = (width - LEFT - RIGHT) / (view[1] - view[0]);
  return t => LEFT + (t - view[0]) * k;
}
function timeAt(x, width) { return view[0] + (x - LEFT) / (width - LEFT - RIGHT) * (view[1] - view[0]); }
function niceStep(range, most) {
  const raw = range / most, power = Math.pow(10, Math.floor(Math.log10(raw)));
  for (const m of [1, 2, 5, 10]) if (m * power >= raw) return m * power;
  return 10 * power;
}
function axis(g, width, top, bottom) {
  const x = scaleX(width), step = niceStep(view[1] - view[0], Math.max(2, (width - LEFT) / 110));
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  g.strokeStyle = css('--line'); g.fillStyle = css('--soft'); g.textAlign = 'center';
  g.lineWidth = 1;
  for (let k = Math.ceil(view[0] / step); k * step <= view[1] + 1e-9 * step; k++) {
    const at = Math.round(x(k * step)) + .5;
    g.beginPath(); g.moveTo(at, top); g.lineTo(at, bottom); g.stroke();
    if (at < width - 24) g.fillText((k * step).toFixed(digits) + (k === 0 ? '' : ' s'), at, bottom + 14);
  }
}
// First index whose end is after t; intervals [begin, begin + length] in order.
function firstAfter(list, t, beginAt, lengthAt) {
  let low = 0, high = list.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (list[mid][beginAt] + (lengthAt < 0 ? 0 : list[mid][lengthAt]) < t) low = mid + 1; else high = mid;
  }
  return low;
}
let hatchTile = null;
function hatch(g) {
  if (!hatchTile) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 6;
    const c = tile.getContext('2d');
    c.fillStyle = 'rgba(20,24,40,.50)'; c.fillRect(0, 0, 6, 6);
    c.strokeStyle = 'rgba(255,255,255,.75)'; c.lineWidth = 1.3;
    for (const o of [-6, 0, 6]) { c.beginPath(); c.moveTo(o - 1, 7); c.lineTo(o + 7, -1); c.stroke(); }
    hatchTile = tile;
  }
  return g.createPattern(hatchTile, 'repeat');
}

// --- a panel with time to the right ------------------------------------------------------------
class TimePlot {
  constructor(parent, title, note) {
    const panel = document.createElement('div');
    panel.className = 'panel';
    panel.innerHTML = '<div class="head"><h2>' + escape(title) + '</h2><span class="hint">' +
        escape(note) + '</span><span class="grow"></span><span class="legend"></span></div>' +
        '<div class="plot time"><canvas></canvas><canvas></canvas></div>';
    parent.appendChild(panel);
    this.legend = panel.querySelector('.legend');
    [this.base, this.top] = panel.querySelectorAll('canvas');
    const top = this.top;
    let drag = null;
    top.addEventListener('wheel', e => {
      if (!(e.ctrlKey || e.metaKey || e.altKey)) return;
      e.preventDefault();
      zoomAt(timeAt(e.offsetX, top.clientWidth), Math.exp(e.deltaY * .0022));
    }, {passive: false});
    top.addEventListener('dblclick', () => setView(0, span));
    top.addEventListener('pointerdown', e => {
      drag = {x: e.offsetX, view: view.slice(), select: e.shiftKey};
      top.setPointerCapture(e.pointerId);
    });
    top.addEventListener('pointerup', e => {
      if (drag && drag.select && Math.abs(e.offsetX - drag.x) > 4) {
        const w = top.clientWidth, a = timeAt(drag.x, w), b = timeAt(e.offsetX, w);
        setView(Math.min(a, b), Math.max(a, b));
      }
      drag = null;
    });
    top.addEventListener('pointermove', e => {
      const width = top.clientWidth;
      if (drag && !drag.select) {
        const d = (drag.x - e.offsetX) / (width - LEFT - RIGHT) * (drag.view[1] - drag.view[0]);
        if (Math.abs(drag.x - e.offsetX) > 2) setView(drag.view[0] + d, drag.view[1] + d);
        return;
      }
      for (const p of plots) p.point(timeAt(e.offsetX, width), null);
      const hit = this.hit(e.offsetX, e.offsetY, width);
      if (hit && hit.chunk !== undefined) for (const p of plots) p.point(null, hit);
      if (drag) {
        const g = this.top.getContext('2d');
        g.fillStyle = 'rgba(37,99,235,.18)';
        g.fillRect(Math.min(drag.x, e.offsetX), 0, Math.abs(e.offsetX - drag.x), this.height);
      }
      tip(e, hit && hit.html);
    });
    top.addEventListener('pointerleave', () => { tip(null); for (const p of plots) p.point(null, null); });
    plots.push(this);
  }
  draw() {
    const [g, width] = fit(this.base, this.height);
    this.paint(g, width);
    fit(this.top, this.height);
  }
  point(time, hit) {
    const [g, width] = fit(this.top, this.height);
    if (hit) { this.mark(g, width, hit); return; }
    if (time === null || time < view[0] || time > view[1]) return;
    const x = Math.round(scaleX(width)(time)) + .5;
    g.strokeStyle = css('--soft'); g.setLineDash([3, 3]);
    g.beginPath(); g.moveTo(x, 0); g.lineTo(x, this.height - AXIS); g.stroke(); g.setLineDash([]);
  }
  mark() {}
}
)js"
                                    R"js(
class Timeline extends TimePlot {
  constructor(parent, trace) {
    super(parent, 'Stages, ' + trace.name,
          'each block is one instruction of one chunk; empty is waiting');
    this.trace = trace;
  }
  get row() {
    const room = DATA.traces.length > 1 ? 420 : 620;
    return Math.max(9, Math.min(46, Math.floor(room / stageCount)));
  }
  get height() { return this.row * stageCount + AXIS + 8; }
  bar() {
    const lanes = showLinks ? Math.max(2, Math.min(5, Math.floor(this.row / 6))) : 0;
    const gap = this.row > 16 ? 4 : 1;
    return [this.row - gap - (lanes ? 2 * lanes + 1 : 0), lanes];
  }
  paint(g, width) {
    const row = this.row, [bar, lane] = this.bar(), x = scaleX(width);
    axis(g, width, 0, row * stageCount);
    g.save();
    const every = Math.ceil(13 / row);
    g.textAlign = 'right'; g.textBaseline = 'middle'; g.fillStyle = css('--soft');
    for (let p = 0; p < stageCount; p += every) {
      g.fillText('stage ' + p, LEFT - 8, Math.max(6, p * row + row / 2));
    }
    g.beginPath(); g.rect(LEFT, 0, width - LEFT - RIGHT, row * stageCount); g.clip();
    const pattern = hatch(g), idle = css('--idle');
    const end = Math.min(x(this.trace.seconds), width - RIGHT);
    g.textAlign = 'center'; g.font = '10.5px system-ui, "DejaVu Sans", sans-serif';
    for (let p = 0; p < stageCount; p++) {
      const y = p * row + 1, data = stageData(this.trace, p), list = data.events;
      const first = firstAfter(list, view[0], 2, 3), last = firstAfter(list, view[1], 2, -1);
      if (last - first > (width - LEFT) / 2) { this.mix(g, list, first, last, y, bar, width); continue; }
      g.fillStyle = idle; g.fillRect(Math.max(x(0), LEFT), y, end - Math.max(x(0), LEFT), bar);
      for (let i = first; i < last; i++) {
        const e = list[i], left = x(e[2]), w = Math.max(x(e[2] + e[3]) - left, .6);
        const inset = w > 3 ? .5 : 0;
        g.fillStyle = COLOURS[chunkOf(e[1])[2]][e[0]];
        g.fillRect(left, y, w - inset, bar);
        let text = left;
        if (e[4] > 0) {
          const r = x(e[2] + e[4]) - left;
          g.fillStyle = r > 4 ? pattern : 'rgba(20,24,40,.5)';
          g.fillRect(left, y, Math.max(r - (r >= w ? inset : 0), .6), bar);
          text += Math.min(r, w);
        }
        const free = left + w - text, name = free > 24 && bar >= 12 ? nameOf(e[0], e[1]) : '';
        if (name && g.measureText(name).width < free - 5) {
          g.fillStyle = e[0] === 1 || e[0] === 2 ? '#fff' : '#14213a';
          g.fillText(name, text + free / 2, y + bar / 2 + .5);
        }
      }
      if (lane) for (const m of data.links) {
        if (m[3] > view[1] || m[3] + m[4] < view[0]) continue;
        const down = m[0] > p, left = x(m[3]);
        g.fillStyle = down ? '#7a5af8' : '#e0742f';
        g.fillRect(left, y + bar + 1 + (down ? 0 : lane), Math.max(x(m[3] + m[4]) - left, .6), lane - .5);
      }
    }
    g.restore();
  }
  // Where instructions are narrower than pixels: each column's mean colour, waiting included.
  mix(g, list, first, last, y, bar, width) {
    const n = width - LEFT - RIGHT, perPixel = (view[1] - view[0]) / n;
    const column = new Float64Array(4 * n);
    for (let i = first; i < last; i++) {
      const e = list[i], colour = RGB[chunkOf(e[1])[2]][e[0]];
      const from = (e[2] - view[0]) / perPixel, to = from + e[3] / perPixel, dark = from + e[4] / perPixel;
      for (let k = Math.max(0, Math.floor(from)); k < Math.min(n, to); k++) {
        const share = Math.min(to, k + 1) - Math.max(from, k);
        const shaded = Math.max(0, Math.min(dark, k + 1) - Math.max(from, k)) * .55;
        for (let j = 0; j < 3; j++) column[4 * k + j] += colour[j] * (share - shaded) + 30 * shaded;
        column[4 * k + 3] += share;
      }
    }
    const idle = css('--idle'), rest = [1, 3, 5].map(i => parseInt(idle.slice(i, i + 2), 16));
    for (let k = 0; k < n; k++) {
      const time = view[0] + (k + .5) * perPixel, used = Math.min(1, column[4 * k + 3]);
      if (time < 0 || time > this.trace.seconds) continue;
      const mixed = rest.map((r, j) => Math.round(Math.min(255, column[4 * k + j] + r * (1 - used))));
      g.fillStyle = 'rgb(' + mixed + ')';
      g.fillRect(LEFT + k, y, 1, bar);
    }
  }
  find(p, time) {
    const list = stageData(this.trace, p).events;
    const i = firstAfter(list, time, 2, 3);
    return i < list.length && list[i][2] <= time ? list[i] : null;
  }
  hit(px, py, width) {
    const p = Math.floor(py / this.row);
    if (p < 0 || p >= stageCount || px < LEFT) return null;
    const time = timeAt(px, width), e = this.find(p, time);
    if (!e) {
      const list = stageData(this.trace, p).events, i = firstAfter(list, time, 2, 3);
      const from = i > 0 ? list[i - 1][2] + list[i - 1][3] : 0;
      const to = i < list.length ? list[i][2] : this.trace.seconds;
      if (time < 0 || time > this.trace.seconds) return null;
      return {html: '<b>stage ' + p + ' waits</b>' + rows([['for', seconds(to - from)],
          ['from', seconds(from) + ' to ' + seconds(to)],
          i < list.length ? ['until', nameOf(list[i][0], list[i][1])] : null])};
    }
    const c = chunkOf(e[1]);
    const others = DATA.traces.filter(t => t !== this.trace).map(t => {
      const o = stageData(t, p).events.find(k => k[0] === e[0] && k[1] === e[1]);
      return o ? [t.name, seconds(o[3]) + ' at ' + seconds(o[2])] : null;
    });
    return {chunk: e[1], html: '<b>' + nameOf(e[0], e[1]) + '</b> ' + OP_NAMES[e[0]] + ' on stage ' + p +
      rows([['time', seconds(e[3]) + ' at ' + seconds(e[2])],
        e[4] > 0 ? ['recomputes', (c[8][p] ? c[8][p] + ' of ' + (DATA.layers[p][1] - DATA.layers[p][0]) +
            ' layers, ' : '') + DATA.levels.map((part, i) => part && c[9][i][p] ? c[9][i][p] + ' ' + part + ', ' : '')
            .join('') + seconds(e[4])] : null,
        e[5] > 0 ? ['was ready', seconds(e[5]) + ' before'] : null,
        ...others,
        ['chunk', KINDS[c[2]] + ', ' + count(c[3]) + ' tokens in ' + c[5] +
            (c[5] === 1 ? ' slice' : ' slices')],
        c[10] > 0 ? ['sub-groups', c[10] + (c[10] === 1 ? ' device each' : ' devices each')] : null,
        c[6] >= 0 ? ['sequence', c[6] + ' of ' + count(c[7]) + ' tokens, after ' + count(c[4])] : null])};
  }
  mark(g, width, hit) {
    const x = scaleX(width), [bar] = this.bar();
    g.save(); g.beginPath(); g.rect(LEFT, 0, width - LEFT - RIGHT, this.height); g.clip();
    g.strokeStyle = css('--text'); g.lineWidth = this.row > 14 ? 2 : 1.4;
    for (let p = 0; p < stageCount; p++) {
      for (const e of stageData(this.trace, p).events) {
        if (e[1] !== hit.chunk || e[2] > view[1] || e[2] + e[3] < view[0]) continue;
        g.strokeRect(x(e[2]) + .5, p * this.row + 1.5, Math.max(x(e[2] + e[3]) - x(e[2]) - 1, 1), bar - 1);
      }
    }
    g.restore();
  }
}

class Memory extends TimePlot {
  constructor(parent, trace) {
    // A budget far above all peaks would leave the curves flat: it is told instead of drawn.
    const highest = Math.max(1, ...DATA.traces.flatMap(t => Array.from({length: stageCount}, (_, p) => peakOf(t, p))));
    const far = DATA.limit > 4 * highest;
    super(parent, 'Memory, ' + trace.name, !(DATA.limit > 0) ? 'no budget is set' : far ?
        'the budget of ' + bytes(DATA.limit) + ' a stage is ' + (DATA.limit / highest).toFixed(0) +
        ' times the highest peak, beyond this scale' :
        'the red line is the budget of ' + bytes(DATA.limit) + ' a stage');
    this.line = DATA.limit > 0 && !far ? DATA.limit : 0;
    this.trace = trace;
    this.peaks = [];
    for (let p = 0; p < stageCount; p++) this.peaks.push(peakOf(trace, p));
    const used = PURPOSES.map((n, i) => this.trace.replicas.some(r => r.stages.some(
        s => s.memory.some(m => m[i + 1] > 0))));
    this.legend.innerHTML = PURPOSES.map((n, i) => used[i] ? '<span><i style="background:' +
        PURPOSE_COLOURS[i] + '"></i>' + n + '</span>' : '').join('');
  }
  // Small multiples: one column of wide curves, or several columns where stages are many.
  get row() { return stageCount <= 4 ? 96 : stageCount <= 8 ? 72 : stageCount <= 16 ? 46 : stageCount <= 32 ? 34 : 26; }
  get height() { return this.row * stageCount + AXIS + 4; }
  paint(g, width) {
    const row = this.row, x = scaleX(width), pad = row > 60 ? 8 : 4;
    axis(g, width, 0, row * stageCount);
    const most = Math.max(this.line, ...DATA.traces.flatMap((t, k) => plotsOf(Memory)
        .filter(m => m.trace === t).flatMap(m => m.peaks)), 1);
    this.most = most;
    for (let p = 0; p < stageCount; p++) {
      const base = (p + 1) * row - 1, high = row - pad;
      const y = b => base - b / most * high;
      g.textAlign = 'right'; g.textBaseline = 'middle'; g.fillStyle = css('--soft');
      g.fillText('stage ' + p, LEFT - 8, base - high / 2 - (row > 60 ? 7 : 0));
      if (row > 60) g.fillText(bytes(this.peaks[p]), LEFT - 8, base - high / 2 + 8);
      g.save();
      g.beginPath(); g.rect(LEFT, base - row, width - LEFT - RIGHT, row + 1); g.clip();
      const list = stageData(this.trace, p).memory, end = x(this.trace.seconds);
      let from = Math.max(0, firstAfter(list, view[0], 0, -1) - 1);
      // Columns of pixels: the highest sample in each, so that no peak is lost between pixels.
      const columns = [];
      for (let i = from; i < list.length; i++) {
        if (list[i][0] > view[1]) break;
        const left = Math.max(x(list[i][0]), LEFT), right = i + 1 < list.length ? x(list[i + 1][0]) : end;
        const total = sum(list[i]);
        const last = columns[columns.length - 1];
        if (last && left < last.left + .8) {
          if (total > last.total) { last.sample = list[i]; last.total = total; }
          last.next = list[i]; last.right = right;
          continue;
        }
        columns.push({left, right, sample: list[i], next: list[i], total});
      }
      for (const c of columns) {
        const left = Math.round(c.left), w = Math.max(Math.round(c.right) - left, 1);
        let under = 0;
        for (let k = 0; k < 6; k++) {
          const b = c.sample[k + 1];
          if (b <= 0) continue;
          g.fillStyle = PURPOSE_COLOURS[k];
          g.fillRect(left, y(under + b), w, y(under) - y(under + b) + .35);
          under += b;
        }
      }
      if (this.line > 0) {
        g.strokeStyle = css('--over'); g.lineWidth = 1.2;
        const line = Math.round(y(this.line)) + .5;
        g.beginPath(); g.moveTo(LEFT, line); g.lineTo(width - RIGHT, line); g.stroke();
      }
      g.restore();
      g.strokeStyle = css('--line'); g.lineWidth = 1;
      g.beginPath(); g.moveTo(LEFT, base + .5); g.lineTo(width - RIGHT, base + .5); g.stroke();
    }
  }
  hit(px, py, width) {
    const p = Math.floor(py / this.row);
    if (p < 0 || p >= stageCount || px < LEFT) return null;
    const list = stageData(this.trace, p).memory, time = timeAt(px, width);
    let i = firstAfter(list, time, 0, -1);
    while (i < list.length && list[i][0] <= time) i++;
    if (i === 0 || time > this.trace.seconds) return null;
    const m = list[i - 1], total = sum(m);
    return {html: '<b>stage ' + p + '</b> at ' + seconds(time) + rows([
      ...PURPOSES.map((n, k) => m[k + 1] > 0 ? [n, bytes(m[k + 1])] : null),
      ['together', bytes(total) + (DATA.limit > 0 ? ', ' + percent(total / DATA.limit) + ' of the budget' : '')],
      ['peak', bytes(this.peaks[p])]])};
  }
}
function sum(m) { let s = 0; for (let k = 1; k < 7; k++) s += m[k]; return s; }
function peakOf(trace, p) { return stageData(trace, p).memory.reduce((a, m) => Math.max(a, sum(m)), 0); }
function plotsOf(type) { return plots.filter(p => p instanceof type); }
function rows(list) {
  return '<table>' + list.filter(r => r).map(r => '<tr><td>' + escape(r[0]) + '</td><td>' +
      escape(r[1]) + '</td></tr>').join('') + '</table>';
}
function tip(event, html) {
  const box = $('tip');
  if (!event || !html) { box.style.display = 'none'; return; }
  box.innerHTML = html;
  box.style.display = 'block';
  const w = box.offsetWidth, h = box.offsetHeight;
  let x = event.clientX + 14, y = event.clientY + 16;
  if (x + w > innerWidth - 8) x = event.clientX - w - 14;
  if (y + h > innerHeight - 8) y = event.clientY - h - 14;
  box.style.left = Math.max(4, x) + 'px';
  box.style.top = Math.max(4, y) + 'px';
}

// --- the view ----------------------------------------------------------------------------------
let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawAll(); });
}
function drawAll() { for (const p of plots) p.draw(); drawScatter(); }
function setView(a, b) {
  let width = Math.min(Math.max(b - a, span * 1e-6), span);
  a = Math.max(0, Math.min(a, span - width));
  view = [a, a + width];
  redraw();
}
function zoomAt(time, factor) {
  setView(time - (time - view[0]) * factor, time + (view[1] - time) * factor);
}
function keys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || /INPUT|SELECT/.test(e.target.tagName)) return;
  const middle = (view[0] + view[1]) / 2, move = (view[1] - view[0]) * .2;
  const key = e.key.toLowerCase();
  if (key === 'w' || key === '+') zoomAt(middle, .7);
  else if (key === 's' || key === '-') zoomAt(middle, 1 / .7);
  else if (key === 'a' || key === 'arrowleft') setView(view[0] - move, view[1] - move);
  else if (key === 'd' || key === 'arrowright') setView(view[0] + move, view[1] + move);
  else if (key === '0') setView(0, span);
}
)js"
                                    R"js(
// --- numbers -----------------------------------------------------------------------------------
function totals(trace) {
  let compute = 0, recompute = 0, peak = 0, at = 0;
  const stages = [];
  for (let p = 0; p < stageCount; p++) {
    let c = 0, r = 0;
    for (const e of stageData(trace, p).events) { c += e[3] - e[4]; r += e[4]; }
    const m = peakOf(trace, p);
    if (m > peak) { peak = m; at = p; }
    compute += c; recompute += r;
    stages.push({compute: c, recompute: r, wait: trace.seconds - c - r, peak: m});
  }
  const whole = stageCount * trace.seconds;
  return {stages, compute, recompute, peak, at, bubble: whole > 0 ? 1 - (compute + recompute) / whole : 0};
}
function card(name, value, note) {
  return '<div class="card"><div class="name">' + escape(name) + '</div><div class="value">' + value +
      '</div><div class="note">' + (note || '&nbsp;') + '</div></div>';
}
function drawNumbers() {
  const first = DATA.traces[0], t = totals(first), second = DATA.traces[1];
  const m = second && totals(second);
  const error = (a, b) => b ? (a >= b ? '+' : '\u2212') + percent(Math.abs(a - b) / b) : '';
  let html = card('step, ' + first.name, seconds(first.seconds),
      second ? second.name + ' ' + seconds(second.seconds) + ' (' + error(first.seconds, second.seconds) + ')' :
      count(DATA.tokens / first.seconds) + ' tokens/s');
  if (DATA.bound > 0) html += card('above the lower bound', percent(first.seconds / DATA.bound - 1),
      'bound ' + seconds(DATA.bound));
  html += card('bubble', percent(t.bubble), m ? second.name + ' ' + percent(m.bubble) :
      'idle share of all stages');
  html += card('recomputation', percent(t.recompute / (t.compute + t.recompute || 1)),
      m ? second.name + ' ' + percent(m.recompute / (m.compute + m.recompute || 1)) :
      seconds(t.recompute) + ' over all stages');
  html += card('most memory, stage ' + t.at, bytes(t.peak), DATA.limit > 0 ?
      percent(t.peak / DATA.limit) + ' of ' + bytes(DATA.limit) : 'no budget');
  const chunks = DATA.replicas[replica].chunks;
  html += card('chunks', count(chunks.length), KINDS.map((k, i) =>
      chunks.filter(c => c[2] === i).length + ' ' + k).join(', '));
  $('cards').innerHTML = html;
  const over = DATA.limit > 0;
  let table = '<tr><th>stage</th><th>layers</th><th>compute</th><th>recompute</th><th>wait</th>' +
      '<th class="bar">time</th><th>peak memory</th>' + (over ? '<th>of budget</th>' : '') +
      (m ? '<th>' + second.name + ' busy</th><th>error</th><th>' + second.name + ' peak</th><th>error</th>' : '') +
      '</tr>';
  t.stages.forEach((s, p) => {
    const share = v => (100 * v / (first.seconds || 1)).toFixed(2) + '%';
    table += '<tr><td>' + p + '</td><td>' + DATA.layers[p][0] + '\u2013' + (DATA.layers[p][1] - 1) +
      '</td><td>' + seconds(s.compute) + '</td><td>' + seconds(s.recompute) + '</td><td>' +
      seconds(s.wait) + '</td><td class="bar"><div class="meter"><i style="width:' + share(s.compute) +
      ';background:#3b7ddd"></i><i style="width:' + share(s.recompute) +
      ';background:repeating-linear-gradient(135deg,#39435c 0 3px,#8a93a8 3px 5px)"></i></div></td><td>' +
      bytes(s.peak) + '</td>' + (over ? '<td' + (s.peak > DATA.limit ? ' class="over"' : '') + '>' +
      percent(s.peak / DATA.limit) + '</td>' : '');
    if (m) {
      const o = m.stages[p], busy = s.compute + s.recompute, real = o.compute + o.recompute;
      table += '<td>' + seconds(real) + '</td><td>' + error(busy, real) + '</td><td>' +
        (o.peak ? bytes(o.peak) : '') + '</td><td>' + (o.peak ? error(s.peak, o.peak) : '') + '</td>';
    }
    table += '</tr>';
  });
  $('stages').innerHTML = table;
}

// --- predicted against measured --------------------------------------------------------------
let points = [];
function collectPoints() {
  points = [];
  if (DATA.traces.length < 2) return;
  for (let p = 0; p < stageCount; p++) {
    const known = new Map();
    for (const e of stageData(DATA.traces[0], p).events) known.set(e[0] + 4 * e[1], e);
    for (const e of stageData(DATA.traces[1], p).events) {
      const a = known.get(e[0] + 4 * e[1]);
      if (a && e[3] > 0 && a[3] > 0) points.push({stage: p, op: e[0], chunk: e[1], predicted: a[3], measured: e[3]});
    }
  }
  const errors = points.map(q => Math.abs(q.predicted / q.measured - 1)).sort((a, b) => a - b);
  const at = s => errors.length ? errors[Math.round(s * (errors.length - 1))] : 0;
  $('scatterPanel').hidden = !points.length;
  $('bottom').classList.toggle('two', points.length > 0);
  $('scatterText').textContent = count(points.length) + ' instructions; error: median ' + percent(at(.5)) +
      ', 95th percentile ' + percent(at(.95)) + '. Grey: within 5%.';
}
let dots = [];
function drawScatter() {
  if (!points.length) return;
  const height = 400, [g, width] = fit($('scatter'), height);
  fit($('scatterTop'), height);
  let low = Infinity, high = 0;
  for (const q of points) {
    low = Math.min(low, q.predicted, q.measured); high = Math.max(high, q.predicted, q.measured);
  }
  const a = Math.log10(low) - .06, b = Math.log10(high) + .06;
  const left = 64, bottom = height - 36, w = width - left - 12, h = bottom - 8;
  const x = v => left + (Math.log10(v) - a) / (b - a) * w, y = v => bottom - (Math.log10(v) - a) / (b - a) * h;
  g.strokeStyle = css('--line'); g.fillStyle = css('--soft'); g.lineWidth = 1;
  for (let k = Math.floor(a); k <= b; k++) for (const f of [1, 2, 5]) {
    const v = f * Math.pow(10, k);
    if (Math.log10(v) < a || Math.log10(v) > b) continue;
    g.beginPath(); g.moveTo(x(v), 8); g.lineTo(x(v), bottom); g.moveTo(left, y(v)); g.lineTo(left + w, y(v)); g.stroke();
    g.textAlign = 'center'; g.fillText(seconds(v).replace(/\.0+ /, ' '), x(v), bottom + 14);
    g.textAlign = 'right'; g.fillText(seconds(v).replace(/\.0+ /, ' '), left - 6, y(v) + 4);
  }
  g.textAlign = 'center'; g.fillText('measured', left + w / 2, height - 5);
  g.save(); g.translate(11, 8 + h / 2); g.rotate(-Math.PI / 2); g.fillText('predicted', 0, 0); g.restore();
  const l = Math.pow(10, a), t = Math.pow(10, b);
  g.save(); g.beginPath(); g.rect(left, 8, w, h); g.clip();
  g.fillStyle = 'rgba(130,140,160,.20)';
  g.beginPath(); g.moveTo(x(l), y(l * 1.05)); g.lineTo(x(t), y(t * 1.05));
  g.lineTo(x(t), y(t * .95)); g.lineTo(x(l), y(l * .95)); g.fill();
  g.strokeStyle = css('--soft'); g.beginPath(); g.moveTo(x(l), y(l)); g.lineTo(x(t), y(t)); g.stroke();
  g.globalAlpha = points.length > 2000 ? .45 : .75;
  dots = points.map(q => ({q, x: x(q.measured), y: y(q.predicted)}));
  for (const d of dots) {
    g.fillStyle = COLOURS[chunkOf(d.q.chunk)[2]][d.q.op];
    g.beginPath(); g.arc(d.x, d.y, 3.2, 0, 7); g.fill();
  }
  g.restore();
}
$('scatterTop').addEventListener('pointermove', e => {
  let best = null, near = 144;
  for (const d of dots) {
    const r = (d.x - e.offsetX) ** 2 + (d.y - e.offsetY) ** 2;
    if (r < near) { near = r; best = d; }
  }
  const q = best && best.q;
  tip(e, q && '<b>' + nameOf(q.op, q.chunk) + '</b> on stage ' + q.stage + rows([['measured', seconds(q.measured)],
      ['predicted', seconds(q.predicted)], ['error', percent(q.predicted / q.measured - 1)],
      ['chunk', KINDS[chunkOf(q.chunk)[2]] + ', ' + count(chunkOf(q.chunk)[3]) + ' tokens']]));
});
$('scatterTop').addEventListener('pointerleave', () => tip(null));

// --- start -------------------------------------------------------------------------------------
function build() {
  plots.length = 0;
  $('timelines').innerHTML = ''; $('memories').innerHTML = '';
  for (const t of DATA.traces) new Timeline($('timelines'), t);
  for (const t of DATA.traces) {
    if (t.replicas.some(r => r.stages.some(s => s.memory.length))) new Memory($('memories'), t);
  }
  drawNumbers();
  collectPoints();
  drawAll();
}
$('title').textContent = document.title = DATA.title;
$('subtitle').textContent = DATA.subtitle;
$('replica').innerHTML = DATA.replicas.map((r, i) => '<option>' + i + '</option>').join('');
$('replicaBox').hidden = DATA.replicas.length < 2;
$('replica').onchange = e => { replica = +e.target.value; build(); };
$('links').onchange = e => { showLinks = e.target.checked; redraw(); };
$('all').onclick = () => setView(0, span);
$('in').onclick = () => zoomAt((view[0] + view[1]) / 2, .6);
$('out').onclick = () => zoomAt((view[0] + view[1]) / 2, 1 / .6);
{
  const ops = new Set(DATA.traces.flatMap(t => t.replicas.flatMap(r => r.stages.flatMap(s => s.events.map(e => e[0])))));
  const kinds = new Set(DATA.replicas.flatMap(r => r.chunks.map(c => c[2])));
  let html = '';
  KINDS.forEach((k, i) => {
    if (!kinds.has(i)) return;
    html += '<span>' + k + ' ' + [...ops].sort().map(o => '<i title="' + OP_NAMES[o] + '" style="background:' +
        COLOURS[i][o] + '"></i>' + OPS[o]).join(' ') + '</span>';
  });
  html += '<span><i style="background:repeating-linear-gradient(135deg,#5b6478 0 3px,#d5dae4 3px 5px)"></i>recompute</span>';
  $('legend').innerHTML = html;
}
addEventListener('resize', redraw);
addEventListener('keydown', keys);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
build();
)js";

}  // namespace infinipipe
