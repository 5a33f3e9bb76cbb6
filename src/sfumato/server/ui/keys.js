// Ctrl+Enter and Escape, heard wherever the focus is. Only these go to the server, not every letter that is typed; and
// an Escape that closes a menu or a dialog is none for the page.
// What lies over the page, but for what is on its way out.
const OVER = ".q-menu:not([class*='leave']), .q-dialog__inner:not([class*='leave'])";

export default {
  emits: ["enter", "escape"],
  template: `<div hidden></div>`,
  mounted() {
    addEventListener("keydown", this.hear, true);
  },
  unmounted() {
    removeEventListener("keydown", this.hear, true);
  },
  methods: {
    hear(event) {
      if (event.repeat) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.$emit("enter");
      else if (event.key === "Escape" && !document.querySelector(OVER)) this.$emit("escape");
    },
  },
};
