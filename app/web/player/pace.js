// How fast music is made compared with how fast it plays: how long to wait until it can play to its end without a stop, and
// where it would stop if it began now. Pure: whoever asks says what time it is, in seconds on any clock.
//
// The machine draws tokens at some speed, and a second of music takes more of them or fewer. Up to `until` notes are told as
// they are drawn; what lies behind it, the ending, comes all at once, after as long as so many more tokens take.

// Played music, seen from any of its moments: the tokens of a second yet to come are, whether of the next two seconds or of the
// next minute, those of what has been heard, and of TRUST seconds of LIVELY music, in the mean; DENSER times as many in one
// case of ten (benchmarks/app).
const LIVELY = 50;
const TRUST = 6;
const DENSER = 1.4;
const LONGER = 1.2; // and an ending may take longer than was told
const PHRASE = 2; // seconds of music that show it is a dense one
const LATELY = 8; // seconds over which the machine's speed is measured
const SPAN = 0.2; // seconds of drawing before anything is said of it
const DOUBT = 0.15; // seconds: as long a span shows half of the speed for certain
const CAUTION = 0.9; // the speed is trusted to this part
const LEAST = 0.25; // seconds in hand
const LONGEST_GAP = 4; // seconds between two arrivals after which the machine has not paused but become slower
const TELLING = 0.8; // seconds of drawing before a wait is told
const STEP = 1; // seconds of music between two places that are looked at
const UNKNOWN_LENGTH = 30; // seconds more that a piece of unknown length is taken to last

export class Pace {
  /**
   * @param {{known?: number, until?: number, density?: number}} [start] seconds that are known already; seconds up to which
   *   notes are told one by one, 0 if nobody knows; tokens in a second of music, as in what is continued.
   */
  constructor({ known = 0, until = 0, density = LIVELY } = {}) {
    this.certain = known;
    this.until = until;
    this.guess = density;
    this.left = 0;
    this.ending = false; // whether what comes all at once is being made
    this.caution = CAUTION;
    this.gap = 0.1; // seconds between two arrivals, the longest of late
    this.tokens = this.music = 0; // drawn, and seconds that came of them
    /** @type {[time: number, drawn: number, certain: number][]} */
    this.arrivals = []; // tokens drawn and seconds certain at a time, the last few
  }

  /**
   * There is more of it.
   * @param {number} now
   * @param {{seconds: number, drawn?: number, left?: number}} told seconds that are certain; tokens drawn so far; tokens that
   *   would take as long as what comes behind `until`
   */
  arrived(now, { seconds, drawn, left = 0 }) {
    const last = this.arrivals.length ? this.#newest : null;
    const tokens = drawn ?? (last?.[1] ?? 0) + Math.max(0, seconds - this.certain) * this.guess;
    if (last && this.certain < (this.until || Infinity)) {
      this.tokens += tokens - last[1];
      this.music += Math.max(0, seconds - this.certain);
    }
    if (last) this.gap = Math.min(Math.max(this.gap * 0.97, now - last[0]), LONGEST_GAP);
    if (seconds > this.certain) this.ending = false;
    else if (left > 0 && left < this.left) this.ending = true;
    this.certain = Math.max(this.certain, seconds);
    this.left = left;
    this.arrivals.push([now, tokens, this.certain]);
    while (this.arrivals.length > 2 && now - this.arrivals[1][0] > LATELY) this.arrivals.shift();
  }

  get #newest() {
    return this.arrivals[this.arrivals.length - 1];
  }

  /** Tokens a second of late; null while there is too little to go by. */
  speed(now) {
    if (this.arrivals.length < 2) return null;
    const [[since, first], [last, drawn]] = [this.arrivals[0], this.#newest];
    if (last - since < SPAN) return null;
    return (drawn - first) / (Math.max(last, now - 2 * this.gap) - since); // slower, if the next arrival is overdue
  }

  /** Tokens in a second of music. */
  get density() {
    return (this.tokens + TRUST * this.guess) / (this.music + TRUST);
  }

  /** Tokens in a second of the music that came of late, if it is denser. */
  get #densest() {
    const [[, first, from], [, drawn, to]] = [this.arrivals[0], this.#newest];
    return to - from > PHRASE && to < this.until ? Math.max(this.density, (drawn - first) / (to - from)) : this.density;
  }

  /** Played up to what is there: trust the machine less. */
  ranDry() {
    this.caution *= 0.8;
  }

  /**
   * Seconds to wait before playing from `at` need not stop; 0 if it can begin, Infinity while nobody knows.
   * @param {number} now @param {number} at @param {number} [tempo] seconds of music played in a second
   */
  wait(now, at, tempo = 1) {
    return Math.max(0, ...this.#short(now, at, tempo, true, LEAST + this.gap).map(([, short]) => short));
  }

  /** The stop that playing now from `at` will come to, in all likelihood: where, and how long. Null if there is none. */
  stop(now, at, tempo = 1) {
    const short = this.#short(now, at, tempo, false, 0);
    const first = short.findIndex(([, seconds]) => seconds > LEAST + this.gap);
    if (first < 0) return null;
    return { at: short[first][0], seconds: Math.max(...short.slice(first).map(([, seconds]) => seconds)) };
  }

  /**
   * Seconds after which that wait will be over if all goes on as it does; Infinity while nobody knows.
   * It is shorter than the wait: in each second a second is made of what was reckoned to take longer.
   * @param {number} now @param {number} at @param {number} [tempo]
   */
  expected(now, at, tempo = 1) {
    const speed = this.speed(now);
    if (speed === null || speed <= 0 || this.#span < TELLING) return Infinity;
    const [notes, ending] = [DENSER / this.caution, LONGER / this.caution]; // seconds that are reckoned for one of them
    const over = ([place, short]) => {
      const made = (this.density * (place - this.certain)) / speed;
      return short < notes * made ? short / notes : made + (short - notes * made) / ending;
    };
    return Math.max(0, ...this.#short(now, at, tempo, true, LEAST + this.gap, 0).map(over));
  }

  /** Seconds in which the newest tokens were drawn. */
  get #span() {
    return this.#newest[0] - this.arrivals[0][0];
  }

  /** [place, seconds by which what lies there comes too late] for places up to the end. */
  #short(now, at, tempo, careful, margin, doubt = DOUBT) {
    const speed = this.speed(now);
    if (speed === null || speed <= 0) return [[this.certain, Infinity]];
    const { certain } = this;
    const until = Math.max(this.until || certain + UNKNOWN_LENGTH, certain);
    const trusted = careful ? speed * this.caution * (this.#span / (this.#span + doubt)) : speed;
    const since = Math.min(now - this.#newest[0], this.gap); // of this the next arrival has been drawn already
    const late = (place, tokens) => [place, tokens / trusted - since + margin - (place - at) / tempo];
    const places = [];
    for (let ahead = 0; ahead < until - certain; ahead += STEP) places.push(ahead);
    const each = careful ? this.density * DENSER : this.#densest;
    const last = each * (until - certain) + (careful ? this.left * LONGER : this.left);
    return [...places.map((ahead) => late(certain + ahead, each * ahead)), late(until, last)];
  }
}

const RISE = 1.2; // the most a countdown goes up at a time
const OFTEN = 1; // seconds between two times
export const FEW = 5; // seconds from which a wait is told as a number: fewer are a moment

/** What is said of a wait: whole seconds that go down with the clock, and up by a fifth at most, or from a moment to FEW. */
export class Countdown {
  /** @type {number | null} */
  shown = null;
  risen = 0; // when it went up last

  clear() {
    this.shown = null;
    this.risen = 0;
  }

  /**
   * The seconds to show, null while nobody knows.
   * @param {number} now @param {number} wait seconds
   */
  show(now, wait) {
    if (!Number.isFinite(wait)) return this.shown;
    const seconds = Math.max(1, Math.ceil(wait));
    if (this.shown === null || seconds < this.shown) this.shown = seconds;
    else if (seconds > this.shown && now - this.risen >= OFTEN) {
      const raised = Math.min(seconds, Math.max(Math.floor(this.shown * RISE), FEW));
      if (raised > this.shown) this.risen = now;
      this.shown = raised;
    }
    return this.shown;
  }
}
