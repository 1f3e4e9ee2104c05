// The video: seeking, and playing a moment to its end. Where the browser cannot play the format, the position lives on
// here, so that the chart and the moments still work, and the page can show a still instead.

export class Player {
  #video;
  #duration = 0;
  #wished = 0;
  #until = null;
  #seeking = false; // by us, not with the controls
  isPlayable = true;

  constructor(video, { onTime, onTrouble }) {
    this.#video = video;
    this.onTime = onTime;
    const tell = () => {
      this.#stopAtEnd();
      this.onTime(this.now());
    };
    for (const kind of ["timeupdate", "seeked", "loadedmetadata", "pause"]) video.addEventListener(kind, tell);
    video.addEventListener("seeking", () => {
      if (!this.#seeking) this.#until = null;
      this.#seeking = false;
    });
    video.addEventListener("play", () => this.#follow());
    video.addEventListener("error", () => {
      if (!video.getAttribute("src")) return;
      this.isPlayable = false;
      onTrouble();
    });
  }

  load(address, duration) {
    this.#duration = duration;
    this.#wished = 0;
    this.#until = null;
    this.isPlayable = true;
    this.#video.src = address;
    this.onTime(0);
  }

  clear() {
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  now() {
    return this.#video.readyState > 0 ? this.#video.currentTime : this.#wished;
  }

  seek(time) {
    this.#until = null;
    this.#go(time);
  }

  playMoment(start, end) {
    this.#go(start);
    this.#until = end;
    this.#video.play().catch(() => {});
  }

  toggle() {
    if (this.#video.paused) this.#video.play().catch(() => {});
    else this.#video.pause();
  }

  #go(time) {
    this.#wished = Math.min(Math.max(time, 0), this.#duration);
    this.#seeking = this.#video.readyState > 0;
    this.#video.currentTime = this.#wished;
    this.onTime(this.#wished);
  }

  #stopAtEnd() {
    if (this.#until !== null && !this.#video.seeking && this.#video.currentTime >= this.#until) {
      this.#until = null;
      this.#video.pause();
    }
  }

  // Several times a second is too seldom for a playhead.
  #follow() {
    this.#stopAtEnd();
    this.onTime(this.now());
    if (!this.#video.paused && !this.#video.ended) requestAnimationFrame(() => this.#follow());
  }
}
