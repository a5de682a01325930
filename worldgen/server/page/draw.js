// What is shown of results: elements, players with tracks on them, curves over the playing frame, tables.
// Everything that came from a client goes in as text, never as HTML.
export const still = matchMedia("(prefers-reduced-motion: reduce)");
const SVG = "http://www.w3.org/2000/svg";
const COLORS = 6;

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const soft = (text) => make("p", { className: "soft", textContent: text });
export const round = (value) => String(Number(Number(value).toPrecision(4)));
export const fileOf = (job, name) => `/api/jobs/${job.id}/files/${name}`;

export function download(job, name, text) {
  return make("a", { href: fileOf(job, name), download: name, textContent: text });
}

const TEXTS = { "clip.mp4": "mp4", "clip.json": "json", "clip.wav": "wav", "clip.png": "filmstrip", "tracks.csv": "tracks (csv)", "tracks.json": "tracks (json)", "report.json": "report", "story.txt": "story" };
export function downloads(job) {
  return make("p", { className: "downloads" }, ...job.files.filter((name) => TEXTS[name]).map((name) => download(job, name, TEXTS[name])));
}

export function command(text) {
  const copy = make("button", { type: "button", className: "plain small", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text).catch(() => {});
    copy.textContent = "Copied";
  });
  return make("div", { className: "command" }, make("pre", { tabIndex: 0, textContent: text }), copy);
}

export function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { textContent: text, scope: "col" })));
  return make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

export const cell = (text, className = "") => make("td", { textContent: text ?? "", className });
export const head = (text) => make("th", { scope: "row", textContent: text });

export function checks(result) {
  const measured = result.checks.filter((check) => check.value !== null);
  const silent = result.checks.filter((check) => check.value === null);
  const row = (check) => {
    const limit = `${check.passes === "below" ? "at most" : "at least"} ${round(check.limit)}`;
    const low = check.score < 0.5;
    return make("tr", {}, head(check.name.replaceAll("_", " ")), cell(`${round(check.value)} ${check.unit}`, "number"), cell(limit), cell(check.score.toFixed(2) + (low ? " fails" : ""), low ? "number low" : "number"));
  };
  const left = make("details", {}, make("summary", { textContent: `${silent.length} checks that do not apply, and why` }),
    make("ul", { className: "reasons" }, ...silent.map((check) => make("li", {}, make("b", { textContent: check.name.replaceAll("_", " ") }), ` ${check.note}`))));
  return make("div", {}, measured.length ? table(["check", "value", "limit", "score"], measured.map(row)) : null, silent.length ? left : null);
}

// Plays frames that lie side by side in one picture.
export function playStrip(canvas, address, count) {
  const picture = new Image();
  picture.onload = () => {
    const wide = picture.width / count;
    canvas.width = wide;
    canvas.height = picture.height;
    clearInterval(canvas.timer);
    let frame = 0;
    const next = () => {
      if (!canvas.isConnected) return clearInterval(canvas.timer);
      canvas.getContext("2d").drawImage(picture, frame * wide, 0, wide, picture.height, 0, 0, wide, picture.height);
      frame = (frame + 1) % count;
    };
    next();
    if (!still.matches) canvas.timer = setInterval(next, 40);
  };
  picture.src = address;
}

// The shots of a film with the time of each cut; a click goes there.
export function shots(told, stage) {
  const line = (shot) => {
    const go = make("button", { type: "button", className: "plain tiny", textContent: `${shot.begin.toFixed(2)} s` });
    go.addEventListener("click", () => stage.querySelectorAll("video").forEach((video) => { video.pause(); video.currentTime = shot.begin + 0.001; }));
    return make("li", {}, go, ` ${shot.prompt}`);
  };
  return make("ol", { className: "shots", ariaLabel: "shots" }, ...told.map(line));
}

// COCO-style tracks as one list of places per object, in shares of the picture; null where it is not seen.
export function readTracks(coco) {
  const { width, height, fps } = coco.videos[0];
  const objects = new Map();
  for (const { track_id, image_id, bbox } of coco.annotations) {
    if (!objects.has(track_id)) objects.set(track_id, Array(coco.images.length).fill(null));
    const [left, top, wide, high] = bbox;
    objects.get(track_id)[image_id - 1] = { x: (left + wide / 2) / width, y: (top + high / 2) / height, wide: wide / width, high: high / height };
  }
  return { fps, frames: coco.images.length, height, objects: [...objects.values()] };
}

const inkOf = (number) => getComputedStyle(document.documentElement).getPropertyValue(`--track${number % COLORS}`);

function drawTracks(canvas, tracks, frame) {
  canvas.width = canvas.clientWidth;
  canvas.height = canvas.clientHeight;
  const pen = canvas.getContext("2d");
  pen.lineWidth = 2;
  tracks.objects.forEach((places, number) => {
    pen.strokeStyle = inkOf(number);
    pen.beginPath();
    let before = null;
    for (const place of places.slice(0, frame + 1)) {
      if (place) pen[before ? "lineTo" : "moveTo"](place.x * canvas.width, place.y * canvas.height);
      before = place;
    }
    pen.stroke();
    const now = places[frame];
    if (now) pen.strokeRect((now.x - now.wide / 2) * canvas.width, (now.y - now.high / 2) * canvas.height, now.wide * canvas.width, now.high * canvas.height);
  });
}

// A video with what was tracked drawn on it; calls back with the frame that plays. Its controls stand below it:
// those of browsers lie over what a small video shows.
export function player(address, caption, tracks = null, changed = () => {}, heard = false) {
  const video = make("video", { src: address, loop: true, muted: true, autoplay: !still.matches, playsInline: true });
  const canvas = make("canvas", { className: "tracks", hidden: !tracks });
  const play = make("button", { type: "button", className: "plain tiny", textContent: "Play" });
  const place = make("input", { type: "range", min: 0, max: 1000, step: 1, value: 0, ariaLabel: "time" });
  const sound = heard ? make("button", { type: "button", className: "plain tiny", textContent: "Sound on" }) : null;
  const figure = make("figure", {}, make("div", { className: "film" }, video, canvas), make("div", { className: "controls" }, play, place, sound), make("figcaption", { textContent: caption }));
  const toggle = () => (video.paused ? video.play() : video.pause());
  video.addEventListener("play", () => { play.textContent = "Pause"; });
  video.addEventListener("pause", () => { play.textContent = "Play"; });
  video.addEventListener("seeked", () => { place.value = 1000 * video.currentTime / video.duration; });
  video.addEventListener("click", toggle);
  play.addEventListener("click", toggle);
  place.addEventListener("input", () => { video.pause(); video.currentTime = video.duration * place.value / 1000; });
  if (sound) sound.addEventListener("click", () => { video.muted = !video.muted; sound.textContent = video.muted ? "Sound on" : "Sound off"; });
  video.addEventListener("error", () => figure.append(make("p", { className: "soft", textContent: "This browser cannot play the file; it is judged all the same." })));
  let shown = -1;
  const tick = () => {
    if (video.duration && !video.paused) place.value = 1000 * video.currentTime / video.duration;
    const frame = tracks ? Math.min(tracks.frames - 1, Math.max(0, Math.floor(video.currentTime * tracks.fps + 0.01))) : 0;
    if (tracks && (frame !== shown || canvas.width !== canvas.clientWidth)) {
      shown = frame;
      drawTracks(canvas, tracks, frame);
      changed(frame);
    }
    if (figure.isConnected) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  return figure;
}

// Height and speed of all objects over time, with a line at the frame that plays; {element, at(frame)}.
export function curves(tracks) {
  const heights = tracks.objects.map((places) => places.map((place) => (place ? 100 * (1 - place.y) : null)));
  const speeds = tracks.objects.map((places) => places.map((place, n) => {
    const [before, after] = [places[n - 1], places[n + 1]];
    return before && after ? 50 * tracks.fps * Math.hypot((after.x - before.x), after.y - before.y) : null;
  }));
  const plots = [plot("height, % of the picture", heights, tracks), plot("speed, % of the picture per s", speeds, tracks)];
  return { element: make("div", { className: "curves" }, ...plots.map((one) => one.element)), at: (frame) => plots.forEach((one) => one.at(frame)) };
}

function plot(title, lines, tracks) {
  const [wide, high, left, bottom] = [320, 130, 34, 18];
  const values = lines.flat().filter((value) => value !== null);
  let [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  if (most - least < 1) [least, most] = [least - 0.5, most + 0.5];
  const x = (frame) => left + (wide - left - 6) * (tracks.frames > 1 ? frame / (tracks.frames - 1) : 0);
  const y = (value) => 8 + (high - bottom - 8) * (1 - (value - least) / (most - least));
  const svg = draw("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": title });
  svg.append(draw("path", { class: "axis", d: `M${left} 4V${high - bottom}H${wide}` }));
  for (const value of [least, most]) svg.append(draw("text", { x: left - 4, y: y(value) + 4, "text-anchor": "end" }, round(Math.round(value * 10) / 10)));
  svg.append(draw("text", { x: left, y: high - 4 }, "0 s"), draw("text", { x: wide - 2, y: high - 4, "text-anchor": "end" }, `${round((tracks.frames - 1) / tracks.fps)} s`));
  lines.forEach((line, number) => {
    let path = "";
    line.forEach((value, frame) => { if (value !== null) path += `${path && line[frame - 1] !== null ? "L" : "M"}${x(frame).toFixed(1)} ${y(value).toFixed(1)}`; });
    svg.append(draw("path", { class: `line track${number % COLORS}`, d: path || "M0 0" }));
  });
  const cursor = draw("path", { class: "cursor", d: "M0 0" });
  svg.append(cursor);
  const element = make("figure", {}, svg, make("figcaption", { textContent: title }));
  return { element, at: (frame) => cursor.setAttribute("d", `M${x(frame)} 4V${high - bottom}`) };
}
