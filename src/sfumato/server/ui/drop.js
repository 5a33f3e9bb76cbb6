// A place to pick a picture; a drop or a paste anywhere on the page is as good. The file goes to the server as it is,
// which answers with what it made of it.
export default {
  props: { words: Object, slim: Boolean, to: String, bare: Boolean },
  emits: ["picked", "refused"],
  data: () => ({ over: false, busy: false }),
  template: `
    <label :class="{ drop: !bare, over, slim }">
      <input type="file" accept="image/png,image/jpeg,image/webp" @change="send($event.target.files[0])">
      <span>{{ busy ? words.busy : words.drop }}</span>
    </label>
  `,
  created() {
    this.heard = { paste: this.paste, dragover: this.enter, dragleave: this.leave, drop: this.drop };
  },
  mounted() {
    for (const [name, hear] of Object.entries(this.heard)) document.addEventListener(name, hear);
  },
  unmounted() {
    for (const [name, hear] of Object.entries(this.heard)) document.removeEventListener(name, hear);
  },
  methods: {
    enter(event) {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      this.over = true;
    },
    leave(event) {
      if (event.relatedTarget === null) this.over = false;
    },
    drop(event) {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.over = false;
      this.send(event.dataTransfer.files[0]);
    },
    paste(event) {
      const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
      if (file) this.send(file);
    },
    async send(file) {
      if (!file) return;
      this.busy = true;
      try {
        const answer = await fetch(this.to, { method: "POST", body: file });
        const told = await answer.json();
        if (answer.ok) this.$emit("picked", told.name ?? told);
        else this.$emit("refused", String(told.error?.message ?? told.errors ?? this.words.failed));
      } catch {
        this.$emit("refused", this.words.failed);
      }
      this.busy = false;
      this.$el.querySelector("input").value = "";
    },
  },
};
