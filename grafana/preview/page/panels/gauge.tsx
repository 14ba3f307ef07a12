import { type FieldDisplay, VizOrientation, formattedValueToString, getActiveThreshold } from '@grafana/data';
import { VizRepeater } from '@grafana/ui';

import type { Drawn } from './drawn';
import { reduced } from './fields';

const FROM = -120;
const SWEEP = 240;

function arc(cx: number, cy: number, radius: number, from: number, to: number): string {
  const point = (degrees: number) => {
    const turned = ((degrees - 90) * Math.PI) / 180;
    return `${cx + radius * Math.cos(turned)} ${cy + radius * Math.sin(turned)}`;
  };
  return `M ${point(from)} A ${radius} ${radius} 0 ${to - from > 180 ? 1 : 0} 1 ${point(to)}`;
}

/** Dials: Grafana's values, colours and thresholds on an arc of our own. */
export function Gauge(drawn: Drawn) {
  const { panel, theme, width, height } = drawn;
  const options = panel.options ?? {};
  const values = reduced(drawn);
  const dial = (value: FieldDisplay, w: number, h: number) => {
    const [min, max] = [value.field.min ?? 0, value.field.max ?? 100];
    const part = (at: number) => FROM + SWEEP * Math.max(0, Math.min(1, (at - min) / (max - min)));
    const titled = value.display.title ? 18 : 0;
    const radius = Math.max(10, Math.min(w / 2 - 6, (h - titled) / 1.6 - 4));
    const [cx, cy] = [w / 2, (h - titled) / 2 + radius * 0.28];
    const steps = value.field.thresholds?.steps ?? [];
    const ends = [...steps.slice(1).map(({ value: at }) => part(at)), FROM + SWEEP];
    const active = getActiveThreshold(value.display.numeric, steps);
    const color = value.display.color ?? theme.visualization.getColorByName(active?.color ?? 'green');
    const size = Math.max(10, radius * 0.38);
    const letters = Math.max(3, Math.floor(w / 7));
    const title = value.display.title ?? '';
    return (
      <svg width={w} height={h}>
        <path d={arc(cx, cy, radius * 0.8, FROM, FROM + SWEEP)} stroke={theme.colors.background.secondary} strokeWidth={radius * 0.2} fill="none" />
        {Number.isFinite(value.display.numeric) && (
          <path d={arc(cx, cy, radius * 0.8, FROM, part(value.display.numeric))} stroke={color} strokeWidth={radius * 0.2} fill="none" />
        )}
        {options.showThresholdMarkers !== false &&
          steps.map((step, at) => (
            <path
              key={at}
              d={arc(cx, cy, radius * 0.96, at === 0 ? FROM : ends[at - 1], ends[at])}
              stroke={theme.visualization.getColorByName(step.color)}
              strokeWidth={Math.max(2, radius * 0.06)}
              fill="none"
            />
          ))}
        <text x={cx} y={cy + size * 0.35} textAnchor="middle" fontSize={size} fill={color}>
          {formattedValueToString(value.display)}
        </text>
        {titled > 0 && (
          <text x={cx} y={h - 4} textAnchor="middle" fontSize={12} fill={theme.colors.text.primary} data-cut={title.length > letters ? '' : undefined}>
            <title>{title}</title>
            {title.length > letters ? `${title.slice(0, letters - 1)}…` : title}
          </text>
        )}
      </svg>
    );
  };
  return (
    <VizRepeater
      getValues={() => values}
      renderValue={({ value, width: w, height: h }) => dial(value, w, h)}
      width={width}
      height={height}
      source={values}
      itemSpacing={4}
      renderCounter={0}
      autoGrid={true}
      minVizWidth={options.minVizWidth ?? 75}
      minVizHeight={options.minVizHeight ?? 75}
      orientation={options.orientation ?? VizOrientation.Auto}
    />
  );
}
