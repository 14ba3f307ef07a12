import { type GrafanaTheme2, type TimeRange, dateTimeFormat } from '@grafana/data';

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000];

/** The ticks of a time axis of this width, with their texts. */
export function ticks(range: TimeRange, width: number, timeZone: string): Array<{ at: number; text: string }> {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const seconds = (to - from) / 1000;
  const step = (STEPS.find((each) => seconds / each <= width / 80) ?? STEPS.at(-1)!) * 1000;
  const format = step >= 2592000000 ? 'YYYY-MM' : step >= 86400000 ? 'MM/DD' : seconds > 86400 ? 'MM/DD HH:mm' : step < 60000 ? 'HH:mm:ss' : 'HH:mm';
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    found.push({ at, text: dateTimeFormat(at, { format, timeZone }) });
  }
  return found;
}

interface Props {
  range: TimeRange;
  timeZone: string;
  theme: GrafanaTheme2;
  left: number;
  width: number;
  top: number;
}

export function TimeAxis({ range, timeZone, theme, left, width, top }: Props) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  return (
    <g>
      {ticks(range, width, timeZone).map(({ at, text }) => {
        const x = left + ((at - from) / (to - from)) * width;
        return (
          <g key={at}>
            <line x1={x} x2={x} y1={0} y2={top} stroke={theme.colors.border.weak} />
            <text x={x} y={top + 16} fontSize={12} textAnchor="middle" fill={theme.colors.text.primary}>
              {text}
            </text>
          </g>
        );
      })}
    </g>
  );
}
