// What takes the place of the code editor, which no board shows.
export default () => null;
export const loader = { config() {}, init: () => new Promise(() => {}) };
export const useMonaco = () => null;
