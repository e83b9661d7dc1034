// Two things that the server cannot do: say that news has stopped, and draw charts.
"use strict";

(() => {
  const SPAN_S = 3600, LEAST_S = 300, POINTS = 600, GAP_S = 20, HEIGHT_PX = 150;
  const body = document.body;
  const link = document.getElementById("link");
  const banner = document.getElementById("stale");
  const note = document.getElementById("charts-note");
  const title = document.title;
  const staleAfterS = Number(body.dataset.staleAfterS);
  const zone = body.dataset.timezone;

  // Is what stands here still true?

  let beat = null, heard = null;

  // A sleeping laptop stops the one clock and not the other; the longer age is believed.
  const instant = () => [performance.now() / 1000, Date.now() / 1000];
  const since = (then) => Math.max(...instant().map((now, i) => now - then[i]));
  const loaded = instant();
  const silence = () => since(heard ?? loaded);

  const duration = (s) =>
    s < 60 ? `${Math.floor(s)} s` :
    s < 3600 ? `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s` :
    `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;

  function judge() {
    const silentS = silence();
    if (silentS > staleAfterS) {
      const ageS = silentS + (beat?.age_s ?? 0);
      return [`stale since ${duration(ageS)}`,
        "No news from the console: all figures are old. " +
        "This page reconnects by itself; does `naryn console` run?"];
    }
    if (beat === null) return ["connecting", banner.textContent];
    const fault = beat.fault ?? "";
    if (beat.age_s === null) return ["no site", `The site was not reached yet. ${fault}`];
    const ageS = beat.age_s + silentS;
    if (beat.fault !== null || ageS > staleAfterS) {
      return [`stale since ${duration(ageS)}`, `The site is silent: its figures are old. ${fault}`];
    }
    return ["live", ""];
  }

  function show() {
    const [word, why] = judge();
    const state = word === "live" ? "live" : word === "connecting" ? "wait" : "stale";
    if (link.textContent !== word) link.textContent = word;
    link.dataset.state = state;
    if (banner.textContent !== why) banner.textContent = why; // read aloud, so it counts no seconds
    banner.hidden = why === "";
    body.classList.toggle("stale", why !== "");
    body.classList.toggle("cut", silence() > staleAfterS);
    document.title = state === "live" ? title : `(${word}) ${title}`;
  }

  body.addEventListener("htmx:sseMessage", (event) => {
    if (event.detail.type !== "beat") return;
    const silentS = heard === null ? 0 : since(heard);
    beat = JSON.parse(event.detail.data);
    heard = instant();
    show();
    if (silentS > GAP_S) load(); else append(beat);
  });
  document.addEventListener("visibilitychange", show);
  setInterval(show, 500);

  // Charts

  const times = [];
  const kept = new Map();
  const charts = [];
  const sizes = new ResizeObserver(() => charts.forEach(({ holder, plot }) => {
    if (holder.clientWidth) plot.setSize({ width: holder.clientWidth, height: HEIGHT_PX });
  }));

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const latest = () => times.at(-1) ?? Date.now() / 1000;
  // The last hour, or as much of it as is known: a young site fills its charts too.
  let known = null;
  const left = () => Math.min(latest() - LEAST_S, Math.max(latest() - SPAN_S, known ?? 0));
  const finite = (values) => values.filter((v) => v !== null && v !== undefined);

  function scaleOf(holder) {
    const { from, around } = holder.dataset;
    return (plot) => {
      const seen = finite(Array.from(plot.data[1]));
      if (around !== undefined) {
        const middle = Number(around);
        const off = Math.max(0.05, 1.1 * Math.max(0, ...seen.map((v) => Math.abs(v - middle))));
        return [middle - off, middle + off];
      }
      if (!seen.length) return [0, 1];
      if (from !== undefined) return [0, 1.25 * Math.max(...seen) || 1];
      const low = Math.min(...seen), high = Math.max(...seen);
      const room = Math.max((high - low) * 0.1, high * 0.01, 1e-8);
      return [Math.max(0, low - room), high + room];
    };
  }

  function build(holder) {
    const names = holder.dataset.names.split(",");
    const places = Number(holder.dataset.places);
    const unit = holder.dataset.unit;
    const said = (_, v) => v === null || v === undefined ? "–" : `${v.toFixed(places)} ${unit}`;
    const axis = { stroke: css("--quiet"), grid: { stroke: css("--rule"), width: 1 },
      ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const lines = names.map((label, i) => i === 0
      ? { label, value: said, stroke: css("--accent"), fill: css("--accent-faint"), width: 2 }
      : { label, value: said, stroke: css("--text"), width: 1.5, dash: [6, 4],
        paths: uPlot.paths.stepped({ align: 1 }) });
    if (holder.dataset.from === undefined) delete lines[0].fill;
    const plot = new uPlot({
      width: holder.clientWidth, height: HEIGHT_PX,
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zone),
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: true, range: () => [left(), latest()] },
        y: { range: scaleOf(holder) } },
      axes: [{ ...axis, size: 26, values: "{HH}:{mm}", space: 70 },
        { ...axis, size: 62, space: 32 }],
      series: [{ label: "", value: "{HH}:{mm}:{ss}" }, ...lines],
    }, [[]], holder);
    charts.push({ holder, plot });
    sizes.observe(holder);
  }

  function redraw() {
    const rows = [...kept.values()];
    known = times.find((_, i) => rows.some((values) => (values[i] ?? null) !== null)) ?? null;
    for (const { holder, plot } of charts) {
      const scale = Number(holder.dataset.scale);
      const ys = holder.dataset.series.split(" ").map((name) =>
        (kept.get(name) ?? times.map(() => null)).map((v) => v === null ? null : v * scale));
      holder.hidden = "optional" in holder.dataset && finite(ys[0]).length === 0;
      plot.setData([times, ...ys]);
      if (!(plot.cursor.left >= 0)) plot.setLegend({ idx: times.length - 1 });
    }
  }

  function push(at, points) {
    const before = times.length;
    times.push(at);
    for (const name of Object.keys(points)) {
      if (!kept.has(name)) kept.set(name, Array(before).fill(null));
    }
    for (const [name, values] of kept) values.push(points[name] ?? null);
  }

  function append({ at_unix_s: at, points }) {
    if (times.length && at <= times.at(-1)) return;
    if (times.length && at - times.at(-1) > GAP_S) push(at - 1, {}); // a gap, not a straight line
    push(at, points);
    const old = times.findIndex((t) => t >= at - SPAN_S);
    if (old > 0) [times, ...kept.values()].forEach((values) => values.splice(0, old));
    redraw();
  }

  async function load() {
    try {
      const reply = await fetch(`/api/history?span_s=${SPAN_S}&points=${POINTS}`);
      const page = await reply.json();
      if (!reply.ok) throw new Error(page.error);
      times.splice(0, times.length, ...page.at_unix_s);
      kept.clear();
      for (const [name, values] of Object.entries(page.series)) kept.set(name, values);
      note.textContent = page.note;
    } catch (error) {
      note.textContent = `The past cannot be shown: ${error.message}`;
    }
    redraw();
  }

  function begin() {
    document.querySelectorAll(".chart").forEach(build);
    redraw();
  }

  begin();
  load();
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => {
    charts.splice(0).forEach(({ plot }) => plot.destroy());
    begin();
  });
})();
