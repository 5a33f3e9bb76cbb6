export default {
  template: '<canvas width="300" height="300"></canvas>',
  mounted() {
    this.$el.getContext("2d").fillRect(10, 10, 50, 50);
  },
};
