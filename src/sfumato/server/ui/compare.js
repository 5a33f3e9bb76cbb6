// Two pictures in one place and a line between them. The line is a native range input that lies over both, so that
// pointer, finger, arrow keys and screen readers move it.
export default {
  props: { before: String, after: String, fit: String, words: Object },
  data: () => ({ at: 50 }),
  template: `
    <div class="compare" v-if="after">
      <img class="after" :src="after" :alt="words.after" draggable="false">
      <img class="before" :src="before" :alt="words.before" draggable="false"
        :style="{ objectFit: fit, clipPath: 'inset(0 ' + (100 - at) + '% 0 0)' }">
      <span class="tag left" aria-hidden="true" v-show="at > 12">{{ words.before }}</span>
      <span class="tag right" aria-hidden="true" v-show="at < 88">{{ words.after }}</span>
      <input type="range" min="0" max="100" step="1" v-model.number="at" :aria-label="words.line">
      <span class="line" aria-hidden="true" :style="{ left: at + '%' }"></span>
    </div>
  `,
};
