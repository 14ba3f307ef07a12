// What the page is given: a board, the answers to its queries, and how to draw it.
export interface Span {
  from: number;
  to: number;
}

export interface Column {
  name: string;
  type: 'time' | 'number' | 'boolean' | 'string';
}

export interface Series {
  metric: Record<string, string>;
  value?: [number, string];
  values?: Array<[number, string]>;
}

export interface Answer {
  refId: string;
  kind: 'promql' | 'sql';
  error?: string;
  // Prometheus
  expression?: string;
  instant?: boolean;
  step?: number; // ms
  format?: string;
  legend?: string;
  series?: Series[];
  // PostgreSQL
  columns?: Column[];
  rows?: unknown[][];
}

export interface Answered {
  span: Span;
  interval: number; // ms
  timeInfo?: string;
  answers: Answer[];
}

export interface Event {
  time: number;
  timeEnd?: number;
  text: string;
}

export interface Annotation {
  name: string;
  color: string;
  enabled: boolean;
  events: Event[];
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  collapsed?: boolean;
  panels?: Panel[];
  transparent?: boolean;
  options?: any;
  fieldConfig?: any;
  transformations?: any[];
  hideTimeOverride?: boolean;
}

export interface Variable {
  name: string;
  label: string;
  hide: number;
  text: string;
  value: string | string[];
}

export interface Input {
  board: { uid: string; title: string; timezone: string; refresh?: string; panels: Panel[] };
  theme: 'dark' | 'light';
  width: number;
  probe?: boolean; // also look at the colours of every threshold of tables
  open: boolean; // draw the panels of collapsed rows too
  span: Span;
  variables: Variable[];
  panels: Record<string, Answered>;
  annotations: Annotation[];
}
