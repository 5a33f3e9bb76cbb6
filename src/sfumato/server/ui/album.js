// All pictures that fit, as one grid that is as long as all of them, of which only the rows near the view are there.
// It knows the order of all, so it is also what goes from one picture to the next.
const GAP = 10;
const NARROWEST = 140;
// Screens above and below the view whose pictures are there already.
const BEYOND = 1.5;
const WAYS = { ArrowLeft: -1, ArrowRight: 1 };

export default {
  props: { order: String, query: String, version: Number, viewed: String, words: Object },
  emits: ["open", "choose", "refused"],
  data: () => ({ pictures: [], columns: 1, side: NARROWEST, first: 0, last: 0, at: 0, chosen: {} }),
  template: `
    <div class="album" role="list" :aria-label="words.gallery" :style="{ height }" @keydown="press">
      <div v-for="one in shown" :key="one.id" class="cell" :class="{ chosen: chosen[one.id] }" role="listitem"
        :style="place(one.index)" :aria-setsize="pictures.length" :aria-posinset="one.index + 1">
        <button type="button" class="thumb" :tabindex="one.index === at ? 0 : -1" :data-index="one.index"
          :aria-label="one.label" aria-keyshortcuts="x" @click="$emit('open', one.id)" @focus="at = one.index">
          <img :src="thumbnail(one)" alt="" draggable="false">
        </button>
        <input type="checkbox" tabindex="-1" :checked="chosen[one.id]" :aria-label="words.choose + ': ' + one.label"
          @change="choose(one.id)">
      </div>
    </div>
  `,
  mounted() {
    this.asked = 0;
    this.beyond = 0; // what is in view comes first
    this.watcher = new ResizeObserver(this.measure);
    this.watcher.observe(this.$el);
    addEventListener("scroll", this.measure, { passive: true });
    addEventListener("resize", this.measure);
    document.addEventListener("keydown", this.hear);
    this.load();
  },
  unmounted() {
    this.watcher.disconnect();
    removeEventListener("scroll", this.measure);
    removeEventListener("resize", this.measure);
    document.removeEventListener("keydown", this.hear);
  },
  watch: {
    query() {
      this.load();
    },
    version() {
      this.load();
    },
    viewed(id) {
      const index = this.pictures.findIndex((one) => one.id === id);
      if (index < 0) return;
      this.at = index;
      for (const near of [this.pictures[index - 1], this.pictures[index + 1]]) {
        if (near) new Image().src = `/api/v1/gallery/${near.id}/file`;
      }
    },
  },
  computed: {
    step() {
      return this.side + GAP;
    },
    height() {
      return Math.ceil(this.pictures.length / this.columns) * this.step + "px";
    },
    // Those near the view, and the one that Tab reaches, wherever it is.
    shown() {
      const found = [];
      for (let index = this.first; index < this.last; index++) found.push(index);
      if (this.at < this.pictures.length && (this.at < this.first || this.at >= this.last)) found.push(this.at);
      return found.map((index) => ({ ...this.pictures[index], index }));
    },
  },
  methods: {
    async load() {
      const asked = ++this.asked;
      try {
        const answer = await fetch(this.order + this.query);
        const told = await answer.json();
        if (asked !== this.asked) return;
        if (!answer.ok) throw new Error(told.error?.message ?? this.words.failed);
        this.pictures = Object.freeze(told.pictures);
      } catch (error) {
        this.$emit("refused", error instanceof TypeError ? this.words.failed : error.message);
        return;
      }
      this.at = Math.max(0, Math.min(this.at, this.pictures.length - 1));
      const there = new Set(this.pictures.map((one) => one.id));
      this.take(Object.keys(this.chosen).filter((id) => there.has(id)));
      this.measure();
      await this.$nextTick();
      this.beyond = BEYOND;
      this.measure();
    },
    thumbnail(one) {
      return `/api/v1/gallery/${one.id}/thumbnail?v=${one.created}`;
    },
    place(index) {
      const [row, column] = [Math.floor(index / this.columns), index % this.columns];
      const size = this.side + "px";
      return { width: size, height: size, transform: `translate(${column * this.step}px, ${row * this.step}px)` };
    },
    measure() {
      const box = this.$el.getBoundingClientRect();
      if (!box.width) return;
      this.columns = Math.max(1, Math.floor((box.width + GAP) / (NARROWEST + GAP)));
      this.side = (box.width - GAP * (this.columns - 1)) / this.columns;
      const row = (y) => Math.floor(Math.max(0, y - box.top) / this.step);
      this.first = Math.min(this.pictures.length, row(-this.beyond * innerHeight) * this.columns);
      this.last = Math.min(this.pictures.length, (row((1 + this.beyond) * innerHeight) + 1) * this.columns);
    },

    // Keys in the grid, and from one picture to the next while one is looked at.
    press(event) {
      const ways = { ...WAYS, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -Infinity, End: Infinity };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (ways[event.key]) this.go(this.at + ways[event.key]);
      else if (event.key === "x" && event.target.matches(".thumb")) this.choose(this.pictures[this.at].id);
      else return;
      event.preventDefault();
    },
    go(index) {
      this.at = Math.max(0, Math.min(index, this.pictures.length - 1));
      this.$nextTick(() => {
        const thumb = this.$el.querySelector(`[data-index="${this.at}"]`);
        thumb?.parentElement.scrollIntoView({ block: "nearest" });
        thumb?.focus({ preventScroll: true });
      });
    },
    hear(event) {
      if (!this.viewed || event.ctrlKey || event.metaKey || event.altKey || !WAYS[event.key]) return;
      if (event.target.closest?.("input, textarea")) return;
      this.turn(WAYS[event.key]);
      event.preventDefault();
    },
    turn(by) {
      const next = this.pictures[this.pictures.findIndex((one) => one.id === this.viewed) + by];
      if (next) this.$emit("open", next.id);
    },

    // Those that are chosen, for what is done with several.
    choose(id) {
      const now = Object.keys(this.chosen);
      this.take(this.chosen[id] ? now.filter((one) => one !== id) : [...now, id]);
    },
    take(ids) {
      if (ids.length === Object.keys(this.chosen).length && ids.every((id) => this.chosen[id])) return;
      this.chosen = Object.fromEntries(ids.map((id) => [id, true]));
      this.$emit("choose", ids);
    },
  },
};
